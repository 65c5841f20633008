"""Loops over entries in machine code; only `compiled` imports this, where numba is installed.

Processors take 16 entries at a time where an inner loop has no branch and one array after the other
lies next to it in memory: arguments are in C order, and what branches, does so once a group.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

LANES = 16
"""Entries whose maximum is taken first: one or two registers of single precision."""
ANY_ORDER = {"reassoc", "contract", "nsz"}
"""What the compiler may do with sums, as LLVM names it."""


def _made(function: Callable[..., Any], flags: set[str], keep: bool = False) -> Any:
    """Machine code for every type of arrays that the function is called with.

    It runs without the interpreter's lock, for blocks are worked on in threads.
    """
    return numba.njit(nogil=True, error_model="numpy", fastmath=flags, cache=keep)(function)


def _part(*flags: str) -> Callable[[Callable[..., Any]], Any]:
    """A part of loops, that goes into their machine code."""
    return lambda function: _made(function, set(flags))


class _Loop:
    """A loop whose machine code is kept for later processes, where that can be."""

    def __init__(self, function: Callable[..., Any], flags: set[str]) -> None:
        self.function, self.flags = function, flags
        try:
            self.run = _made(function, flags, keep=True)
        except RuntimeError:
            # there is no folder to keep it in
            self.run = _made(function, flags)

    def __call__(self, *arguments: Any) -> Any:
        try:
            return self.run(*arguments)
        except Exception:
            # loops raise nothing: what is kept cannot be read, or not be written on a full disk
            self.run = _made(self.function, self.flags)
            return self.run(*arguments)


def _loop(*flags: str) -> Callable[[Callable[..., Any]], _Loop]:
    """A loop that kernels call."""
    return lambda function: _Loop(function, set(flags))


@_loop(*ANY_ORDER)
def sums_of_rows(x, start, stop, unit, cancels, square, mean, gaps):  # type: ignore[no-untyped-def]
    """Sums over the models of ``x`` (model, n, f), of the stimuli from ``start`` to ``stop``.

    Fills in squared norms (model, b), the mean (b, f) of rows, or of unit rows, and the sum of
    squared gaps (b) of the models to it. The latter is NaN where it is more than a share
    ``cancels`` of the squares: a difference of other sums then tells it.
    """
    models, _, width = x.shape
    zero = x.dtype.type(0)
    for i in range(stop - start):
        total = mean[i]
        total[:] = 0
        squares = 0.0
        for m in range(models):
            row = x[m, start + i]
            norm = zero
            for j in range(width):
                norm += row[j] * row[j]
            square[m, i] = norm
            squares += 1.0 if unit else square[m, i]
            weight = x.dtype.type(1 / (np.sqrt(square[m, i]) * models if unit else models))
            # the row is in the closest cache now
            for j in range(width):
                total[j] += weight * row[j]
        of_mean = zero
        for j in range(width):
            of_mean += total[j] * total[j]
        gaps[i] = np.nan
        if squares - models * of_mean < cancels * squares:
            apart = 0.0
            for m in range(models):
                row = x[m, start + i]
                scale = x.dtype.type(1 / np.sqrt(square[m, i]) if unit else 1.0)
                gap = zero
                for j in range(width):
                    gap += (scale * row[j] - total[j]) * (scale * row[j] - total[j])
                apart += gap
            gaps[i] = apart


@_part("nnan", "nsz")
def _maxima(row, maxima):  # type: ignore[no-untyped-def]
    """The largest of every 16 entries, and of those that are left at the end."""
    whole = len(row) // LANES
    for group in range(whole):
        most = row[group * LANES]
        for j in range(group * LANES, group * LANES + LANES):
            most = row[j] if row[j] > most else most
        maxima[group] = most
    if whole < len(maxima):
        most = row[whole * LANES]
        for j in range(whole * LANES, len(row)):
            most = row[j] if row[j] > most else most
        maxima[whole] = most


@_part()
def _bound(maxima, room):  # type: ignore[no-untyped-def]
    """The k-th largest of the maxima, of a ``room`` for k: as many entries are not smaller."""
    last = len(room) - 1
    room[:] = -np.inf
    for value in maxima:
        if value > room[last]:
            place = last
            while place > 0 and room[place - 1] < value:
                room[place] = room[place - 1]
                place -= 1
            room[place] = value
    return room[last]


@_part()
def _insert(entry, place, found, value):  # type: ignore[no-untyped-def]
    """Put an entry that is larger than the last of them into lists (k), largest first."""
    at = len(value) - 1
    while at > 0 and value[at - 1] < entry:
        value[at], found[at] = value[at - 1], found[at - 1]
        at -= 1
    value[at], found[at] = entry, place


@_part()
def _largest_of_row(row, found, value, maxima):  # type: ignore[no-untyped-def]
    """The k largest entries (k) of a row and where they are, largest first, the first on ties."""
    _maxima(row, maxima)
    last = len(value) - 1
    # as many entries are not smaller than the k-th of the maxima
    lowest = _bound(maxima, value)
    value[:] = -np.inf
    found[:] = 0
    for group in range(len(maxima)):
        if maxima[group] >= lowest:
            for j in range(group * LANES, min(len(row), group * LANES + LANES)):
                if row[j] >= lowest and row[j] > value[last]:
                    _insert(row[j], j, found, value)


@_loop()
def largest(similarity, found, value):  # type: ignore[no-untyped-def]
    """The k largest of every row (b, n) and where they are, both (b, k), largest first."""
    rows, columns = similarity.shape
    maxima = np.empty(-(-columns // LANES), similarity.dtype)
    for i in range(rows):
        _largest_of_row(similarity[i], found[i], value[i], maxima)


@_loop()
def join_largest(block, first, found, value):  # type: ignore[no-untyped-def]
    """Join products (b, n - first) of rows from ``first`` on with all from there on.

    To the k largest of every row (n, k) and where they are, largest first, the first on ties. Each
    product counts for both of its rows, none for a row and itself.
    """
    rows, columns = block.shape
    last = value.shape[1] - 1
    least = value[first:, last].copy()
    for i in range(rows):
        row = block[i]
        start = i + 1
        while start < columns:
            stop = min(columns, start + LANES)
            low = least[i]
            hits = 0
            if stop - start == LANES:
                for j in range(start, start + LANES):
                    hits += int(row[j] > low) | int(row[j] > least[j])
            else:
                hits = 1
            if hits:
                for j in range(start, stop):
                    if row[j] > least[i]:
                        _insert(row[j], first + j, found[first + i], value[first + i])
                        least[i] = value[first + i, last]
                    if row[j] > least[j]:
                        _insert(row[j], first + i, found[first + j], value[first + j])
                        least[j] = value[first + j, last]
            start = stop


@_part(*ANY_ORDER)
def _dealt_row(mixed, residual, fitted, turned, order, inverse, sums, cosines):  # type: ignore[no-untyped-def]
    """What `nearest_dealt` searches: one row (n) of a draw, from a row of each matrix."""
    for j in range(len(order)):
        sums[j] = mixed[j] + residual[j]
    for j in range(len(order)):
        cosines[j] = (sums[order[j]] + fitted[j] + turned[j]) * inverse[j]


@_loop()
def nearest_dealt(fitted, mixed, turned, residual, order, inverse, found, value):  # type: ignore[no-untyped-def]
    """The largest cosines (B, n, k) of every row of draws, and where they are, largest first.

    From products (n, n), the draws' orders (B, n) and the inverses (B, n) of their norms; a row's
    own norm is left out. All draws read a row of ``fitted`` and ``mixed`` while it is in the cache.
    """
    draws, n = order.shape
    sums, cosines = np.empty(n, fitted.dtype), np.empty(n, fitted.dtype)
    maxima = np.empty(-(-n // LANES), fitted.dtype)
    for i in range(n):
        for b in range(draws):
            dealt = order[b, i]
            _dealt_row(
                mixed[i], residual[dealt], fitted[i], turned[dealt], order[b], inverse[b],
                sums, cosines,
            )  # fmt: skip
            cosines[i] = -np.inf
            _largest_of_row(cosines, found[b, i], value[b, i], maxima)
