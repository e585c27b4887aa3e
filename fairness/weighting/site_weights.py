"""What each site's update counts in the literature: rules that look at every site.

Our own weights are exact and need sums alone (`everymode.fairness.weighting.group_weights`). These
rules are what they are compared with; they need figures of every single site. Each returns shares
`(K,)` that sum to 1.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from everymode.wgan.errors import NumericalError

Floats = npt.NDArray[np.float64]

_SMALL = 1e-6
"""Of the largest loss; smaller ones count as that much, so that a fitted site keeps some share."""

_ROUNDING = 1e-12
"""Distances that sum to less are 0."""


def row_shares(rows: Floats) -> Floats:
    """n_k / n, from rows of each site `(K,)`.

    Source: McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized
    Data", 2017; for adversarial training Rasouli, Sun, Rajagopal, "FedGAN", 2020.

    Raises:
        ValueError: No site has a row.
    """
    if not rows.sum() > 0:
        raise ValueError(f"expected a site with rows, got {rows.tolist()}")
    shares: Floats = rows / rows.sum()
    return shares


def equal(count: int) -> Floats:
    """1 / K for each of `count` sites, however many rows they have."""
    return np.full(count, 1 / count)


def fegan(labels: Floats) -> Floats:
    """softmax(n_k / n KL(P_k || P)), P_k being the classes' shares at site k, P those of all rows.

    Two defects: a site counts *more* the further its classes are from everyone's, and as exponents
    are at most log(L) n_k / n, many sites count nearly the same, whatever their rows.

    Source: Guerraoui, Guirguis, Kermarrec, Le Merrer, "FeGAN: Scaling Distributed GANs", 2020, KL
    weighting. The formula is that of the authors' code under its default scheme "exp", with two
    differences: there P is set to equal shares and n to a constant, here both are counted.

    Args:
        labels: Rows per site and class, `(K, L)`.

    >>> fegan(np.array([[5.0, 5.0], [5.0, 5.0]])).tolist()
    [0.5, 0.5]
    """
    shares = row_shares(labels.sum(1))
    return _tilted(equal(len(labels)), shares * _kl(_frequencies(labels), _pooled(labels)))


def fegan_sample(labels: Floats, wanted: int, rng: np.random.Generator) -> list[int]:
    """Draws sites that together hold all classes as evenly as they can.

    One after another, a site is drawn that holds the class of which the sites drawn so far have
    the fewest rows. Where no site left holds it, the class with the next fewest decides.

    Source: as `fegan`, balanced sampling. The authors' code counts classes over all rounds and
    takes sites in turn; this one starts afresh with each call and breaks ties by chance.

    Args:
        labels: Rows per site and class, `(K, L)`.
        wanted: How many sites, at most K.
        rng: Decides between classes of equal count, and between sites that hold the class.

    Returns:
        Indices of different sites, in the order they were drawn.

    Raises:
        ValueError: More sites are wanted than there are.

    >>> fegan_sample(np.array([[9.0, 0.0], [9.0, 1.0]]), 2, np.random.default_rng(0))
    [1, 0]
    """
    if not 0 <= wanted <= len(labels):
        raise ValueError(f"expected to draw 0 to {len(labels)} sites, got {wanted}")
    free = np.ones(len(labels), dtype=bool)
    taken = np.zeros(labels.shape[1])
    chosen: list[int] = []
    for _ in range(wanted):
        # A class that no site left holds is never a reason to draw one.
        open_to = np.where(labels[free].any(0), taken, np.inf)
        sought = rng.choice(np.flatnonzero(open_to == open_to.min()))
        holders = free & (labels[:, sought] > 0)
        site = int(rng.choice(np.flatnonzero(holders if holders.any() else free)))
        chosen.append(site)
        free[site] = False
        taken += labels[site]
    return chosen


def fed_tgan(columns: Sequence[Floats], ordered: Sequence[bool], rows: Floats) -> Floats:
    """softmax((1 - S_k) n_k / n), S_k being how unlike all rows' columns those of site k are.

    Every column gives a distance of each site from all rows: Jensen-Shannon divergence of
    categories, Wasserstein distance of numbers. A column's distances are divided by their sum over
    sites (equal where all are 0), and S_k is their mean over columns.

    The defect: a softmax of scores in [0, 1] levels them. No site counts more than e times another,
    and two like sites with nine tenths and one tenth of the rows count .60 and .40.

    Source: Zhao, Birke, Kunar, Chen, "Fed-TGAN: Federated Learning Framework for Synthesizing
    Tabular Data", 2021, table-similarity aware weighting. The authors' code takes the square root
    of the divergence, and measures numbers on draws from fitted mixtures; here on histograms.

    Args:
        columns: Counts per site and bin, `(K, B_j)` each. A site without counts is at distance 0.
        ordered: Whether a column's bins have an order (numbers); they are 1 / B_j apart.
        rows: Rows of each site, `(K,)`.

    Raises:
        ValueError: There is no column.

    >>> like = np.array([[45.0, 45.0], [5.0, 5.0]])
    >>> fed_tgan([like, like], [False, True], np.array([90.0, 10.0])).round(2).tolist()
    [0.6, 0.4]
    """
    if not columns:
        raise ValueError("expected the counts of a column or more")
    unlike = np.zeros(len(rows))
    for counts, order in zip(columns, ordered, strict=True):
        distance = _wasserstein(counts) if order else _jensen_shannon(counts)
        total = distance.sum()
        # Divided by their sum, distances that are only rounding would count like any other.
        unlike += distance / total if total > _ROUNDING else equal(len(rows))
    return _tilted(equal(len(rows)), (1 - unlike / len(columns)) * row_shares(rows))


def ifl_gan(mmd: Floats) -> Floats:
    """softmax(MMD_k): a site counts more the worse the generator fits its rows.

    The defects: rows do not count, and a discrepancy under a kernel of at most 1 is at most
    sqrt(2), so that the softmax levels it.

    Source: Li, Chen, Wang, Shen, Ma, Cui, "IFL-GAN: Improved Federated Learning Generative
    Adversarial Network with Maximum Mean Discrepancy Model Aggregation", 2023.

    Args:
        mmd: Discrepancy of each site's rows and its generator's, `(K,)`.

    Raises:
        NumericalError: One is not finite.

    >>> ifl_gan(np.log(np.array([3.0, 1.0]))).round(2).tolist()
    [0.75, 0.25]
    """
    return _tilted(equal(len(mmd)), _finite("discrepancy", mmd))


def afl(previous: Floats, losses: Floats, rate: float) -> Floats:
    """The simplex's nearest point to lambda + rate F: one step of gradient ascent on lambda.

    The rate depends on the losses' scale, and a site may be left without any weight.

    Source: Mohri, Sivek, Suresh, "Agnostic Federated Learning", 2019, the step of stochastic AFL on
    the mixture's weights.

    Args:
        previous: lambda, weights of the last round, `(K,)`.
        losses: F_k, `(K,)`.
        rate: Per unit of loss.

    Raises:
        NumericalError: A loss is not finite.

    >>> afl(np.array([0.5, 0.5]), np.array([1.0, 0.0]), 0.2).round(2).tolist()
    [0.6, 0.4]
    """
    return project_simplex(previous + rate * _finite("loss", losses))


def project_simplex(point: Floats) -> Floats:
    """The nearest point, in Euclidean distance, with entries of 0 or more that sum to 1.

    Source: Duchi, Shalev-Shwartz, Singer, Chandra, "Efficient Projections onto the l1-Ball for
    Learning in High Dimensions", 2008, figure 1.

    >>> project_simplex(np.array([0.5, 1.5])).tolist()
    [0.0, 1.0]
    """
    falling = np.sort(point)[::-1]
    excess = (np.cumsum(falling) - 1) / np.arange(1, len(point) + 1)
    last = np.flatnonzero(falling > excess)[-1]
    nearest: Floats = np.maximum(point - excess[last], 0.0)
    return nearest


def q_fedavg(losses: Floats, shares: Floats, q: float) -> Floats:
    """p_k F_k^q over their sum: what a site's gradient counts under sum p_k F_k^(q+1) / (q + 1).

    The step size that algorithm 2 of the paper estimates from Lipschitz constants is left to the
    server's rate.

    Source: Li, Sanjabi, Beirami, Smith, "Fair Resource Allocation in Federated Learning", 2020,
    equation 2.

    Args:
        losses: F_k, `(K,)`; those below 1e-6 of the largest count as that.
        shares: p_k, `(K,)`.
        q: 0 gives the shares back.

    Raises:
        NumericalError: A loss is not finite.

    >>> q_fedavg(np.array([2.0, 1.0]), np.array([0.5, 0.5]), 2.0).tolist()
    [0.8, 0.2]
    """
    largest = _finite("loss", losses).max()
    if largest <= 0:
        return row_shares(shares)
    return _tilted(shares, q * np.log(np.maximum(losses / largest, _SMALL)))


def term(losses: Floats, shares: Floats, tilt: float) -> Floats:
    """p_k exp(t F_k) over their sum: what a site's gradient counts under a tilted objective.

    The objective is log(sum p_k exp(t F_k)) / t.

    Source: Li, Beirami, Sanjabi, Smith, "Tilted Empirical Risk Minimization", 2021, lemma 1.

    Args:
        losses: F_k, `(K,)`.
        shares: p_k, `(K,)`.
        tilt: t, per unit of loss; above 0 favours sites of large loss, 0 gives the shares back.

    Raises:
        NumericalError: A loss is not finite.

    >>> term(np.array([np.log(3.0), 0.0]), np.array([0.5, 0.5]), 1.0).round(2).tolist()
    [0.75, 0.25]
    """
    return _tilted(shares, tilt * _finite("loss", losses))


def _tilted(shares: Floats, scores: Floats) -> Floats:
    """Shares times exp(scores), over their sum; no score is too large, and a share of 0 stays 0."""
    shares = row_shares(shares)
    held = shares > 0
    powers = np.where(held, shares * np.exp(np.minimum(scores - scores[held].max(), 0.0)), 0.0)
    return row_shares(powers)


def _finite(what: str, values: Floats) -> Floats:
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise NumericalError(
            f"site {k}: {what} is {values[k]}, expected a finite number; training diverged, "
            "lower the learning rates"
            for k in wrong
        )
    return values


def _pooled(counts: Floats) -> Floats:
    return row_shares(counts.sum(0))


def _frequencies(counts: Floats) -> Floats:
    """Counts of each site over their sum, `(K, B)`; a site without counts is like all together."""
    total = counts.sum(1, keepdims=True)
    everyone = np.tile(_pooled(counts), (len(counts), 1))
    frequencies: Floats = np.divide(counts, total, out=everyone, where=total > 0)
    return frequencies


def _kl(p: Floats, q: Floats) -> Floats:
    """KL(p || q) of each row of p, `(K,)`, in nats; q is above 0 wherever p is."""
    ratio = np.divide(p, q, out=np.ones_like(p), where=p > 0)
    divergence: Floats = (p * np.log(ratio)).sum(-1)
    return divergence


def _jensen_shannon(counts: Floats) -> Floats:
    """Divergence of each site's categories from all rows', `(K,)`, in nats."""
    if not counts.any():
        return np.zeros(len(counts))
    own = _frequencies(counts)
    everyone = np.tile(_pooled(counts), (len(counts), 1))
    middle = (own + everyone) / 2
    # Rounding may leave a divergence of 0 a little below it.
    return np.maximum((_kl(own, middle) + _kl(everyone, middle)) / 2, 0.0)


def _wasserstein(counts: Floats) -> Floats:
    """Distance of each site's histogram from all rows', `(K,)`, over bins 1 / B apart."""
    if not counts.any():
        return np.zeros(len(counts))
    steps = np.cumsum(_frequencies(counts) - _pooled(counts), axis=1)
    distance: Floats = np.abs(steps).mean(1)
    return distance
