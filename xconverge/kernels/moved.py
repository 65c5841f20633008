"""Matrices over pairs of stimuli under permutations of the labels of one side.

CKA, RSA and row correlations are all Σ_ij K_ij L_p(i)p(j), of matrices made once, with factors
that no permutation changes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xconverge.kernels.cka import Sums, centered_sides, gaussian, hsic, normalized
from xconverge.kernels.permutations import run_of, summary
from xconverge.kernels.rdm import Method, similarity, tau_a, triangle
from xconverge.kernels.vectors import Array

BLOCK_BYTES = 2**20
FLOPS_PER_GATHER = 50
"""Multiplications that take as long as fetching one entry of a permuted matrix."""


def products(first: Array, second: Array, permutations: Array) -> Array:
    """Σ_ij K_ij L_p(i)p(j) (P, A, B) of ``first`` (A, n, n) and ``second`` (B, n, n)."""
    count, n, _ = first.shape
    result = np.zeros((len(permutations), count, len(second)))
    step = max(1, BLOCK_BYTES // (8 * n))
    for start in range(0, n, step):
        part = first[:, start : start + step].reshape(count, -1)
        for p, total in zip(permutations, result, strict=True):
            for other, column in zip(second, total.T, strict=True):
                moved = other[p[start : start + step]].take(p, axis=1)
                column += part @ moved.ravel()
    return result


def linear_cka_null(
    permutations: Array,
    common: Array,
    a: Array,
    widths_a: Array,
    b: Array,
    widths_b: Array,
    debiased: bool,
) -> Array:
    """Linear CKA (P, A, B) under permutations (P, n) of the labels of b.

    From rows ``a`` (A, n, F) and ``b`` (B, n, G) and their widths. As n × n kernels, or where
    that costs more, as d × e products of permuted rows.
    """
    rows_a, rows_b = (
        centered_sides(side, widths, common) for side, widths in ((a, widths_a), (b, widths_b))
    )
    moves = within(permutations, common)
    widest = max(x.shape[1] for x in rows_a) * max(y.shape[1] for y in rows_b)
    n = int(common.sum())
    if n * FLOPS_PER_GATHER < widest:
        kernels_a, kernels_b = (np.stack([x @ x.T for x in rows]) for rows in (rows_a, rows_b))
        return kernel_null(kernels_a, kernels_b, moves, debiased)
    cross = np.array([[[_squared(x, y[p]) for y in rows_b] for x in rows_a] for p in moves])
    own = [np.array([np.vecdot(x, x) for x in rows]) for rows in (rows_a, rows_b)]
    sums = [np.array([x @ x.sum(0) for x in rows]) for rows in (rows_a, rows_b)]
    squares = [np.array([_squared(x, x) for x in rows]) for rows in (rows_a, rows_b)]
    return _cka(cross, squares, own, sums, moves, debiased)


def _squared(x: Array, y: Array) -> float:
    cross = x.T @ y
    return float(np.vdot(cross, cross))


def kernel_null(a: Array, b: Array, moves: Array, debiased: bool) -> Array:
    """CKA (P, A, B) of kernels ``a`` (A, n, n) and ``b`` (B, n, n) under permutations (P, n)."""
    own = [np.diagonal(kernels, axis1=1, axis2=2) for kernels in (a, b)]
    squares = [np.array([np.vdot(k, k) for k in kernels]) for kernels in (a, b)]
    sums = [kernels.sum(2) for kernels in (a, b)]
    return _cka(products(a, b, moves), squares, own, sums, moves, debiased)


def _cka(
    cross: Array,
    squares: Sequence[Array],
    own: Sequence[Array],
    sums: Sequence[Array],
    moves: Array,
    debiased: bool,
) -> Array:
    """CKA (P, A, B) from Σ K∘L under permutations, Σ K², diagonals and row sums (M, n)."""
    n = moves.shape[1]
    if debiased:
        sums = [rows - diagonal for rows, diagonal in zip(sums, own, strict=True)]
        squares = [
            square - (diagonal**2).sum(1) for square, diagonal in zip(squares, own, strict=True)
        ]
    scales = [
        [
            hsic(
                Sums(float(square), float(rows @ rows), float(rows.sum()), float(rows.sum())),
                n,
                debiased,
            )
            for square, rows in zip(side, side_sums, strict=True)
        ]
        for side, side_sums in zip(squares, sums, strict=True)
    ]
    result = np.empty_like(cross)
    for p, scores, product in zip(moves, result, cross, strict=True):
        margins = sums[0] @ sums[1][:, p].T
        if debiased:
            product = product - own[0] @ own[1][:, p].T
        for i, j in np.ndindex(scores.shape):
            totals = float(sums[0][i].sum()), float(sums[1][j].sum())
            one = Sums(float(product[i, j]), float(margins[i, j]), *totals)
            scores[i, j] = normalized(hsic(one, n, debiased), scales[0][i], scales[1][j])
    return result


def biased_chance(x: Array, width_x: int, y: Array, width_y: int) -> float:
    """Mean of biased linear CKA over all permutations, from rows ``x`` (n, F) and ``y`` (n, G).

    sqrt(PR_K PR_L) / (n - 1), PR = (tr K)² / |K|² of the centred kernel.
    """
    common = ~(np.isnan(x[:, 0]) | np.isnan(y[:, 0]))
    if common.sum() < 4:
        return np.nan
    sides = centered_sides([x, y], [width_x, width_y], common)
    ratios = [np.vdot(rows, rows) ** 2 / _squared(rows, rows) for rows in sides]
    return float(np.sqrt(np.prod(ratios)) / (common.sum() - 1))


def rbf_cka_null(permutations: Array, common: Array, a: Array, b: Array, debiased: bool) -> Array:
    """CKA (P, A, B) of RBF kernels of scaled rows ``a`` (A, n, F) and ``b`` (B, n, G)."""
    moves = within(permutations, common)
    kernels_a, kernels_b = (np.stack([gaussian(rows[common]) for rows in side]) for side in (a, b))
    return kernel_null(kernels_a, kernels_b, moves, debiased)


def rsa_null(
    permutations: Array, common: Array, a: Array, b: Array, *nuisance: Array, method: Method
) -> Array:
    """Similarity (P, A, B) of RDMs ``a`` (A, n, n) and ``b`` (B, n, n) under permutations.

    Ranks and norms are made once and permuted; what nuisances explain of a permuted RDM
    is taken out of it again; ``nuisance`` are RDMs (n, n).
    """
    moves = within(permutations, common)
    vector = method.vector
    given = [triangle(rdm[np.ix_(common, common)], method.ranked) for rdm in nuisance]
    u, v = (
        [triangle(rdm[np.ix_(common, common)], method.ranked) for rdm in side] for side in (a, b)
    )
    n = moves.shape[1]
    if vector is None:
        return _tau_null(u, v, moves)
    basis = _orthonormal(given) if given else np.empty((0, len(u[0])))
    first = np.stack([square(vector(_without(row, basis)), n) for row in u])
    second = np.stack([square(vector(_without(row, basis)), n) for row in v])
    similar = products(first, second, moves) / 2
    if given:
        explained = products(np.stack([square(row, n) for row in basis]), second, moves) / 2
        left = 1 - (explained**2).sum(1)
        similar /= np.sqrt(np.maximum(left, 1e-300))[:, None]
    return np.asarray(similar)


def mantel(
    a: Array, b: Array, rank: Array, method: Method, n_permutations: int, seed: int
) -> tuple[float, float]:
    """Similarity of two RDMs (n, n) and its p-value under permutation of stimulus labels.

    Rows and columns of ``b`` move together; p = (1 + #{null >= observed}) / (1 + n_permutations).
    """
    there = ~(np.isnan(a) | np.isnan(b))
    np.fill_diagonal(there, False)
    common: Array = np.asarray(there.any(1))
    both = np.ix_(common, common)
    u, v = (triangle(rdm[both], method.ranked) for rdm in (a, b))
    if np.isnan(u).any() or np.isnan(v).any():
        raise ValueError("an RDM has NaN for single pairs; a stimulus is missing whole or not")
    observed = similarity(u, v, "pairs of stimuli", method)
    if np.isnan(observed) or not n_permutations:
        return observed, np.nan
    groups = np.where(common, 0, -1)
    moves = run_of(rank, seed, n_permutations, groups)
    draws = rsa_null(moves, common, a[None], b[None], method=method)[:, 0, 0]
    return observed, summary(draws, alpha=0.05, best=1.0)[2]


def _orthonormal(given: Sequence[Array]) -> Array:
    rows = np.stack([row - row.mean() for row in given])
    q, r = np.linalg.qr(rows.T)
    return np.asarray(q[:, np.abs(np.diagonal(r)) > 1e-10 * np.abs(r).max(initial=0.0)].T)


def _without(row: Array, basis: Array) -> Array:
    return row - row.mean() - basis.T @ (basis @ row) if len(basis) else row


def square(values: Array, n: int) -> Array:
    """The symmetric matrix (n, n) of a triangle, zero on the diagonal."""
    result = np.zeros((n, n))
    result[np.triu_indices(n, 1)] = values
    return np.asarray(result + result.T)


def _tau_null(u: Sequence[Array], v: Sequence[Array], moves: Array) -> Array:
    n = moves.shape[1]
    i, j = np.triu_indices(n, 1)
    squares = [square(row, n) for row in v]
    return np.array(
        [[[tau_a(one, other[p[i], p[j]]) for other in squares] for one in u] for p in moves]
    )


def row_null(permutations: Array, common: Array, a: Array, b: Array) -> Array:
    """Mean over stimuli of the correlation (P, A, B) of their rows in two RDMs, self excluded."""
    moves = within(permutations, common)
    first, second = (
        np.stack([_standard_rows(rdm[np.ix_(common, common)]) for rdm in side]) for side in (a, b)
    )
    return np.asarray(products(first, second, moves) / common.sum())


def _standard_rows(rdm: Array) -> Array:
    """Rows of zero mean and unit norm but for the diagonal, which is zero."""
    n = len(rdm)
    off = ~np.eye(n, dtype=bool)
    rows = np.where(off, rdm, 0.0).astype(np.float64)
    rows = np.where(off, rows - rows.sum(1, keepdims=True) / (n - 1), 0.0)
    norm = np.sqrt(np.vecdot(rows, rows))[:, None]
    varies = norm > 1e-12 * np.sqrt(n) * np.abs(rdm).max(1, keepdims=True)
    result: Array = np.divide(rows, norm, out=np.full_like(rows, np.nan), where=varies)
    return result


def cosine_null(permutations: Array, common: Array, a: Array, b: Array) -> Array:
    """Mean cosine (P, A, B) of unit rows ``a`` (A, n, F) with the permuted ones of ``b``."""
    moves = within(permutations, common)
    here = np.arange(moves.shape[1])
    similar = [[x[common] @ y[common].T for y in b] for x in a]
    return np.array([[[s[here, p].mean() for s in row] for row in similar] for p in moves])


def within(permutations: Array, common: Array) -> Array:
    """Permutations (P, c) of the common stimuli among themselves."""
    place = np.cumsum(common) - 1
    return np.asarray(place[permutations[:, common]])
