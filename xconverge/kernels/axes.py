"""Axes of the largest variance: eigenvectors of products of rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy

from xconverge.kernels.lapack import last_eigenvectors
from xconverge.kernels.rounding import SINGLE
from xconverge.kernels.vectors import Array

Eigenvectors = Callable[[Array, int, float], Array]
"""Of a matrix (d, d), those (d, c) of its largest eigenvalues, c at most, above a share."""
LEAST = 1e-13
"""Eigenvalues that are rounding, as a share of the largest."""
FEW = 8
"""Times that eigenvectors are more than those asked for, from which on only these are made."""


def leading(gram: Array, count: int, least: float = LEAST) -> Array:
    """Eigenvectors (d, c) of the largest eigenvalues, c <= count; those without any left out.

    What is not above ``least`` of the largest eigenvalue is rounding.
    """
    first = max(0, len(gram) - count)
    if FEW * count < len(gram):
        values, vectors = scipy.linalg.eigh(gram, subset_by_index=(first, len(gram) - 1))
    else:
        # all of them take less long than many, and other threads need not wait
        values, vectors = (part[..., first:] for part in np.linalg.eigh(gram))
    real = values > least * max(values[-1], 0.0)
    return np.asarray(vectors[:, real][:, ::-1])


def told_in_single(variances: Array, size: int) -> bool:
    """Whether single precision tells directions of these variances, of sums over ``size`` terms.

    Rounding is a share √n u of the largest variance, and turns a direction by its share of its own.
    """
    return bool(variances.min() > 32 * np.sqrt(size) * SINGLE * variances.max())


def leading_in_single(gram: Array, count: int, least: float = LEAST) -> Array:
    """`leading` in single precision where that tells the directions, and in double where not."""
    # squares may be numbers in double alone
    largest = float(gram.diagonal().max())
    values, vectors = last_eigenvectors(gram / (largest or 1.0), min(count, len(gram)))
    if not told_in_single(values, len(gram)):
        return leading(gram, count, least)
    return np.asarray(vectors[:, ::-1].astype(np.float64))


def principal_axes(
    rows: Array,
    n_components: int,
    least: float = LEAST,
    eigenvectors: Eigenvectors = leading,
) -> Array:
    """Orthonormal axes (f, c) of the largest variance of centred rows (n, f); c <= n_components.

    From the smaller of the two Gram matrices; axes are left out whose variance is not above
    ``least`` of the largest.
    """
    if rows.shape[1] <= len(rows):
        return eigenvectors(rows.T @ rows, n_components, least)
    axes, _ = np.linalg.qr(rows.T @ eigenvectors(rows @ rows.T, n_components, least))
    return np.asarray(axes)
