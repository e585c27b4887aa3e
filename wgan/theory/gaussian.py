"""Optimal transport between Gaussians, in closed form."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import eigh, svd

from everymode.wgan.theory.checks import Array, finite

_ROUNDING = 1e-10


def gaussian_w2(mean_a: ArrayLike, cov_a: ArrayLike, mean_b: ArrayLike, cov_b: ArrayLike) -> float:
    """W_2 between two Gaussians, singular ones included.

    W_2^2 = |mean_a - mean_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2); the trace is also the least
    |A^1/2 - B^1/2 U|^2 over orthogonal U, which does not cancel where A is near B.

    Source: Dowson, Landau, "The Frechet distance between multivariate normal distributions", 1982;
    Gelbrich 1990; the second form: Bhatia, Jain, Lim, "On the Bures-Wasserstein
    distance between positive definite matrices", 2019.

    Args:
        mean_a: `(d,)`.
        cov_a: `(d, d)`, symmetric, positive semidefinite.
        mean_b: `(d,)`.
        cov_b: `(d, d)`.

    Raises:
        ValueError: For other shapes, values that are not finite, or no covariance.

    >>> round(gaussian_w2([0], [[1]], [3], [[25]]), 9)
    5.0
    """
    mean_a, root_a = _gaussian(mean_a, cov_a, "a")
    mean_b, root_b = _gaussian(mean_b, cov_b, "b")
    if mean_a.shape != mean_b.shape:
        raise ValueError(
            f"expected means of the same dimension, got {len(mean_a)} and {len(mean_b)}"
        )
    left, _, right = svd(root_a @ root_b)
    shapes = np.linalg.norm(root_a - root_b @ (left @ right).T)
    return float(np.hypot(np.linalg.norm(mean_a - mean_b), shapes))


def gaussian_w2_map(cov_a: ArrayLike, cov_b: ArrayLike) -> Array:
    """Matrix T `(d, d)` of the optimal map x -> mean_b + T (x - mean_a); T A T = B.

    T = A^-1/2 (A^1/2 B A^1/2)^1/2 A^-1/2, symmetric, positive semidefinite.

    Source: Dowson, Landau, 1982; Olkin, Pukelsheim, "The distance between two random vectors with
    given dispersion matrices", 1982.

    Args:
        cov_a: `(d, d)`, positive definite.
        cov_b: `(d, d)`, positive semidefinite.

    Raises:
        ValueError: For other shapes, values that are not finite, no covariance, or a singular
            `cov_a`, whose mass a linear map may not be able to spread.

    >>> gaussian_w2_map([[1]], [[25]])
    array([[5.]])
    """
    values, vectors = _spectrum(cov_a, "cov_a")
    root_b = _root(*_spectrum(cov_b, "cov_b"))
    if len(values) != len(root_b):
        raise ValueError(
            f"expected covariances of the same dimension, got {len(values)} and {len(root_b)}"
        )
    if values[0] <= _ROUNDING * values[-1]:
        raise ValueError("expected a positive definite cov_a, got a singular one")
    root = _root(values, vectors)
    inverse = (vectors / np.sqrt(values)) @ vectors.T
    # (R B R)^1/2 from the singular values of B^1/2 R: squares would cost half the digits.
    _, sizes, right = svd(root_b @ root)
    result: Array = inverse @ ((right.T * sizes) @ right) @ inverse
    return (result + result.T) / 2


def _gaussian(mean: ArrayLike, cov: ArrayLike, name: str) -> tuple[Array, Array]:
    """A mean `(d,)` and the root of its covariance `(d, d)`."""
    centre = finite(mean, f"mean_{name}")
    root = _root(*_spectrum(cov, f"cov_{name}"))
    if centre.shape != (len(root),):
        raise ValueError(
            f"expected mean_{name} of shape ({len(root)},) as cov_{name}, got {centre.shape}"
        )
    return centre, root


def _spectrum(cov: ArrayLike, name: str) -> tuple[Array, Array]:
    """Eigenvalues `(d,)`, ascending and at least 0, and eigenvectors `(d, d)`."""
    matrix = finite(cov, name)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"expected {name} of shape (d, d), got {matrix.shape}")
    slack = _ROUNDING * float(np.abs(matrix).max())
    if np.abs(matrix - matrix.T).max() > slack:
        raise ValueError(f"expected a symmetric {name}")
    values, vectors = eigh((matrix + matrix.T) / 2)
    if values[0] < -slack * len(matrix):
        raise ValueError(f"expected a positive semidefinite {name}, got eigenvalue {values[0]:.6g}")
    return values.clip(min=0), vectors


def _root(values: Array, vectors: Array) -> Array:
    root: Array = (vectors * np.sqrt(values)) @ vectors.T
    return root
