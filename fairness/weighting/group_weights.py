"""Exact group weights: what a row counts, so that the split over sites does not matter.

Let sites k hold n_kg rows of group g, n_g in all. Give every row of group g the weight
w_g = pi_g / n_g with sum(pi) = 1. A site draws its rows in proportion to their weights and counts
for p_k, the sum of its rows' weights. Then, for any loss L averaged over rows,

    sum_k p_k L_k = sum_k sum_g n_kg w_g L_kg = sum_g pi_g L_g,

whatever the split: one step over sites equals one step over pooled, group-weighted rows. Sites
learn n_g alone and each computes its own p_k.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

Rule = Literal["share", "uniform", "tempered", "minimax"]


def group_mass(counts: Ints, rule: Rule, exponent: float = 0.5) -> Floats:
    """pi, the mass each group gets, `(G,)`, from rows per group n_g `(G,)`.

    `share`: as in the data; `uniform`: the same for every group that has rows; `tempered`:
    proportional to n_g^exponent, between the two; `minimax`: the same, to move from there
    (`everymode.fairness.weighting.minimax`).

    >>> group_mass(np.array([100, 0, 25]), "tempered").round(3).tolist()
    [0.667, 0.0, 0.333]
    """
    power = {"share": 1.0, "uniform": 0.0, "tempered": exponent, "minimax": exponent}[rule]
    present = counts > 0
    mass = np.where(present, counts.astype(np.float64) ** power, 0.0)
    total = mass.sum()
    return mass / total if total > 0 else mass


def row_weights(mass: Floats, counts: Ints) -> Floats:
    """w_g = pi_g / n_g, the weight of one row of each group, `(G,)`."""
    return np.divide(mass, counts, out=np.zeros(len(mass)), where=counts > 0)


def site_mass(weights: Floats, groups: Ints) -> float:
    """p_k, the sum of the weights of a site's rows, from w_g `(G,)` and each row's group `(n,)`."""
    return float(np.bincount(groups, minlength=len(weights)) @ weights)


def cell_mass(mass: Floats, table: Ints) -> Floats:
    """Probability of each cell of group and label, `(G, L)`, when groups get `mass` `(G,)`.

    Within a group, labels keep their share of the rows `table` `(G, L)`.
    """
    counts = table.sum(1, keepdims=True)
    share = np.divide(table, counts, out=np.zeros(table.shape), where=counts > 0)
    masses: Floats = mass[:, None] * share
    return masses
