"""Pairs of models whose rows are read block by block: scores from their cross-products."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from xconverge.kernels.cka import Sums, hsic, normalized
from xconverge.kernels.vectors import (
    Array,
    Blocks,
    chosen,
    in_blocks,
    together,
    working_dtype,
)


class Moments(NamedTuple):
    """Mean (F) of the rows that are there, root of their mean squared norm, which are there (n)."""

    mean: Array
    size: float
    seen: Array


def moments(rows: Blocks, width: int, among: Array | None = None) -> Moments:
    """Mean and size of the real features, of rows ``among`` (n) these if given."""
    seen = np.zeros(rows.shape[0], bool)
    mean, square, count = np.zeros(rows.shape[1]), 0.0, 0
    for part, block, here in in_blocks(rows, width):
        seen[part] = here if among is None else here & among[part]
        values = chosen(block, seen[part]).astype(np.float64)
        if not len(values):
            continue
        own = values.mean(0)
        values -= own
        gap = own - mean[:width]
        share = len(values) / (count + len(values))
        square += np.vdot(values, values) + count * share * np.vdot(gap, gap)
        mean[:width] += share * gap
        count += len(values)
    size = float(np.sqrt(square / max(count, 1)))
    constant = size <= 1e-12 * np.abs(mean).max(initial=0.0)
    return Moments(mean, 0.0 if constant else size, seen)


class Cross(NamedTuple):
    """Of centred rows of unit size: X'Y (d, e), and Σ |x|²|y|², Σ |x|², Σ |y|² over stimuli."""

    product: Array
    norms: float
    first: float
    second: float

    def sums(self, debiased: bool) -> Sums:
        """What HSIC is made of; centred rows have no column sums but their own norms."""
        square = float(np.vdot(self.product, self.product))
        if not debiased:
            return Sums(square, 0.0, 0.0, 0.0)
        return Sums(square - self.norms, self.norms, -self.first, -self.second)


def cross(
    x: Blocks, width_x: int, of_x: Moments, y: Blocks, width_y: int, of_y: Moments, double: bool
) -> Cross:
    """Cross-products over the stimuli that both have; products in double if asked, sums always."""
    common = of_x.seen & of_y.seen
    product, norms, first, second = np.zeros((width_x, width_y)), 0.0, 0.0, 0.0
    for _, read_x, read_y in together(x, y, common):
        rows_x = sized(read_x, width_x, of_x)
        rows_y = rows_x if y is x else sized(read_y, width_y, of_y)
        own_x, own_y = np.vecdot(rows_x, rows_x), np.vecdot(rows_y, rows_y)
        norms += own_x @ own_y
        first += own_x.sum()
        second += own_y.sum()
        dtypes = {working_dtype(side.dtype) for side in (x, y)}
        if not double and dtypes == {np.float32}:
            rows_x, rows_y = rows_x.astype(np.float32), rows_y.astype(np.float32)
        product += rows_x.T @ rows_y
    return Cross(product, float(norms), float(first), float(second))


def sized(block: Array, width: int, of: Moments) -> Array:
    """Rows (b, width) in double, less the mean and of unit size; zero if they are constant."""
    rows = np.subtract(block[:, :width], of.mean[:width], dtype=np.float64)
    return np.divide(rows, of.size, out=rows) if of.size else np.zeros_like(rows)


def own_hsic(rows: Blocks, width: int, debiased: bool) -> tuple[Array, float, Array, float]:
    """Mean (F), size, which stimuli are there (n), and the model's HSIC with itself."""
    of = moments(rows, width)
    return *of, _own(rows, width, of, debiased)


def _own(rows: Blocks, width: int, of: Moments, debiased: bool) -> float:
    n = int(of.seen.sum())
    if n < 4:
        return np.nan
    return hsic(cross(rows, width, of, rows, width, of, False).sums(debiased), n, debiased)


def linear_cka(
    x: Blocks,
    width_x: int,
    mean_x: Array,
    size_x: float,
    seen_x: Array,
    own_x: float,
    y: Blocks,
    width_y: int,
    mean_y: Array,
    size_y: float,
    seen_y: Array,
    own_y: float,
    debiased: bool,
) -> float:
    """CKA of two models over the stimuli both saw, from what ``own_hsic`` gives of each."""
    of_x, of_y = Moments(mean_x, size_x, seen_x), Moments(mean_y, size_y, seen_y)
    common = seen_x & seen_y
    n = int(common.sum())
    if n < 4:
        return normalized(np.nan, np.nan, np.nan)
    if n < seen_x.sum():
        of_x = moments(x, width_x, common)
        own_x = _own(x, width_x, of_x, debiased)
    if n < seen_y.sum():
        of_y = moments(y, width_y, common)
        own_y = _own(y, width_y, of_y, debiased)
    sums = cross(x, width_x, of_x, y, width_y, of_y, False).sums(debiased)
    return normalized(hsic(sums, n, debiased), own_x, own_y)


def angle(
    x: Blocks,
    width_x: int,
    mean_x: Array,
    size_x: float,
    seen_x: Array,
    y: Blocks,
    width_y: int,
    mean_y: Array,
    size_y: float,
    seen_y: Array,
) -> float:
    """Procrustes angle in radians, exact to about 1e-7, from what ``moments`` gives of each."""
    of_x, of_y = Moments(mean_x, size_x, seen_x), Moments(mean_y, size_y, seen_y)
    common = seen_x & seen_y
    if common.sum() < seen_x.sum():
        of_x = moments(x, width_x, common)
    if common.sum() < seen_y.sum():
        of_y = moments(y, width_y, common)
    if common.sum() < 2 or not (of_x.size and of_y.size):
        warnings.warn(
            "a Procrustes angle needs at least 2 common stimuli that differ: NaN",
            RuntimeWarning,
            stacklevel=2,
        )
        return np.nan
    both = cross(x, width_x, of_x, y, width_y, of_y, True)
    values = np.linalg.svd(both.product, compute_uv=False).sum()
    return float(np.arccos(min(1.0, values / np.sqrt(both.first * both.second))))
