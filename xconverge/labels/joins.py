"""Joining on labels, never on position."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.labels.checks import check_dims, check_kind, check_labels
from xconverge.labels.coordinates import set_aside
from xconverge.labels.messages import SchemaError, apart, bare, choose, listing
from xconverge.labels.plain import plain

Join = Literal["exact", "inner"]
DIGITS = re.compile(r"(\d+)")


def natural_rank(labels: Sequence[Hashable] | pd.Index) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Rank of every label in natural order (``s2`` before ``s10``): it does not know positions.

    Examples
    --------
    >>> natural_rank(["s10", "s2", "s1"])
    array([2, 1, 0])
    """
    keys = []
    for text in map(str, labels):
        # text and numbers take turns, so that like is compared with like
        parts: list[Any] = DIGITS.split(text)
        parts[1::2] = map(int, parts[1::2])
        keys.append((parts, text))
    order = sorted(range(len(keys)), key=keys.__getitem__)
    rank = np.empty(len(keys), np.int64)
    rank[order] = np.arange(len(keys))
    return rank


def stimulus_rank(array: xr.DataArray) -> xr.DataArray:
    """Rank (stimulus) of the labels of an array: what draws and ties follow, and not positions."""
    return xr.DataArray(natural_rank(array.indexes["stimulus"]), dims="stimulus")


def join_labels(
    a: xr.DataArray,
    b: xr.DataArray,
    dim: str = "stimulus",
    join: Join = "exact",
    names: tuple[str, str] = ("a", "b"),
    cure: str | None = None,
) -> tuple[xr.DataArray, xr.DataArray, int]:
    """Bring two arrays to the same labels, in the order of the first.

    Returns both, and how many labels were dropped (always 0 for ``join="exact"``). ``cure`` ends
    the error where `pair` is none.
    """
    choose("join", join, ["exact", "inner"])
    a, b = plain(a, names[0]), plain(b, names[1])
    check_labels(a, dim, what=names[0])
    check_labels(b, dim, what=names[1])
    left, right = a.indexes[dim], b.indexes[dim]
    if left.equals(right):
        return a, b, 0
    common = left[left.isin(right)]
    if join == "exact" and not len(common) == len(left) == len(right):
        raise SchemaError(
            f"{names[0]} and {names[1]} must have the same labels on {dim!r}: "
            f"{names[0]} has {len(left)}, {names[1]} has {len(right)}, {len(common)} are in both; "
            f"missing from {names[1]}: {listing(left[~left.isin(right)]) or 'none'}; "
            f"missing from {names[0]}: {listing(right[~right.isin(left)]) or 'none'}. "
            f"{_nearly(left, right, dim, names)}"
            f"{cure or (CUT if len(common) else UNLIKE)}"
        )
    if not len(common):
        raise SchemaError(
            f"{names[0]} and {names[1]} share no label on {dim!r}: {names[0]} has "
            f"{listing(left, 3)}; {names[1]} has {listing(right, 3)}. "
            f"{_nearly(left, right, dim, names)}{UNLIKE}"
        )
    return take(a, dim, common), take(b, dim, common), len(left) + len(right) - 2 * len(common)


OWN = ("model", "stimulus", "stimulus_2", "feature", "component", "neighbor")


def join_extra(a: xr.DataArray, b: xr.DataArray, names: tuple[str, str]) -> xr.DataArray:
    """The second with the labels of every further dim that both have in the order of the first."""
    for dim in map(str, b.dims):
        if dim in OWN or dim not in a.dims:
            continue
        labelled = [dim in side.indexes for side in (a, b)]
        if labelled == [False, False]:
            if a.sizes[dim] != b.sizes[dim]:
                raise SchemaError(
                    f"{names[0]} has {a.sizes[dim]} positions along {dim!r}, {names[1]} has "
                    f"{b.sizes[dim]}, and neither has labels there; give both labels on {dim!r}"
                )
        elif labelled != [True, True]:
            lone = names[labelled.index(False)]
            raise SchemaError(
                f"{lone} has no labels on {dim!r}, {names[labelled.index(True)]} has; give them "
                f"with .assign_coords({dim}=[…]), dims are matched on labels, never on position"
            )
        else:
            cure = f"keep those in both with .sel({dim}=[…]), or .rename({dim}=…) on one side"
            _, b, _ = join_labels(a, b, dim, "exact", names, cure)
    return b


def join_all(join: Join, **arrays: xr.DataArray) -> tuple[list[xr.DataArray], int]:
    """Bring arrays, RDMs among them, to the same stimuli in the order of the first.

    Returns them, and how many stimuli not all of them have (always 0 for ``join="exact"``).
    """
    choose("join", join, ["exact", "inner"])
    names = list(arrays)
    found = [
        square_rdm(array, name) if "stimulus_2" in array.dims else plain(array, name)
        for name, array in (
            (name, check_kind(array, "stimulus", what=name)) for name, array in arrays.items()
        )
    ]
    first = found[0]
    for name, array in zip(names[1:], found[1:], strict=True):
        join_labels(first, array, "stimulus", join, (names[0], name))
    indexes = [array.indexes["stimulus"] for array in found]
    common = indexes[0]
    every = common
    for index in indexes[1:]:
        common = common if common.equals(index) else common[common.isin(index)]
        every = every.union(index, sort=False)
    if not len(common):
        raise SchemaError(f"{', '.join(names)} share no label on 'stimulus'. {UNLIKE}")
    joined = []
    for array in found:
        for dim in ("stimulus", "stimulus_2"):
            array = take(array, dim, common) if dim in array.dims else array
        joined.append(array)
    return joined, len(every) - len(common)


def kind_of(values: Iterable[Any]) -> str:
    """``text``, or the type of the first value that is neither text nor missing."""
    for value in values:
        if not isinstance(value, str) and not pd.isna(value):
            kinds = {np.integer: "int", np.floating: "float"}
            return next((kinds[k] for k in kinds if isinstance(value, k)), type(value).__name__)
    return "text"


CUT = 'Keep those in both with xconverge.pair(…, join="inner")'
UNLIKE = (
    "Were they named alike? Stimuli whose labels are those of a coordinate on the other side are "
    "paired by xconverge.pair(…, on='…')"
)


def _nearly(left: pd.Index, right: pd.Index, dim: str, names: tuple[str, str]) -> str:
    """What labels that only one side has differ in, where that is next to nothing."""
    text = [all(isinstance(label, str) for label in index) for index in (left, right)]
    if text[0] != text[1]:
        number = text.index(False)
        kind = kind_of((left, right)[number])
        return (
            f"{names[number]} has {kind} labels, {names[1 - number]} has text, and "
            f"1 is not '1': make them text with .assign_coords({dim}=….{dim}.astype(str)). "
        )
    if not all(text):
        return _rounded(left, right, dim)
    others = {_folded(label): label for label in right[~right.isin(left)]}
    lone = left[~left.isin(right)]
    pairs = [(label, others[key]) for label in lone if (key := _folded(label)) in others]
    if not pairs:
        return ""
    ways = {
        "case": any(bare(one) != bare(other) for one, other in pairs),
        "spaces around them": any(_spaced(one) != _spaced(other) for one, other in pairs),
        "their Unicode form": any(
            unicodedata.normalize("NFC", part.strip()) != part.strip()
            for pair in pairs
            for part in pair
        ),
    }
    named = "; ".join(apart(*pair) for pair in pairs[:3])
    return (
        f"{len(pairs)} of them differ only in {' and '.join(k for k, v in ways.items() if v)}: "
        f"{named}. Labels are compared exactly; rename those of one side, with "
        f".assign_coords({dim}=[unicodedata.normalize('NFC', s).strip() for s in ….{dim}.values])"
        f"{' and .casefold()' if ways['case'] else ''} say. "
    )


ROUNDING = 1e-6
"""Distance of labels that are one number, as a share of the largest."""


def _rounded(left: pd.Index, right: pd.Index, dim: str) -> str:
    """What numbers that only one side has differ in, where that is rounding, as in seconds."""
    kinds = {index.dtype.kind for index in (left, right)}
    if not kinds <= {*"iuf"} or "f" not in kinds:
        return ""
    lone = np.asarray(left[~left.isin(right)][:1000], np.float64)
    others = np.asarray(right[~right.isin(left)][:1000], np.float64)
    size = max(np.abs(lone).max(initial=0.0), np.abs(others).max(initial=0.0))
    near = np.argwhere(np.abs(lone[:, None] - others) <= ROUNDING * size)
    if not len(near):
        return ""
    i, j = near[0]
    return (
        f"{len(np.unique(near[:, 0]))} of them differ by rounding alone, as {float(lone[i])!r} and "
        f"{float(others[j])!r} do. Labels are compared exactly; round those of both sides, with "
        f".assign_coords({dim}=….{dim}.values.round(6)) say. "
    )


def _folded(label: str) -> str:
    return unicodedata.normalize("NFC", bare(label).casefold())


def _spaced(label: str) -> tuple[int, int]:
    """How many spaces are before and after the label."""
    return len(label) - len(label.lstrip()), len(label) - len(label.rstrip())


def take(array: xr.DataArray, dim: str, labels: pd.Index) -> xr.DataArray:
    """These labels of a dim, in this order; untouched where nothing changes."""
    index = array.indexes[dim]
    return array if index.equals(labels) else array.isel({dim: index.get_indexer(labels)})


def square_rdm(array: xr.DataArray, what: str) -> xr.DataArray:
    """An RDM with the same labels on both dims, columns in the order of the rows."""
    second = "stimulus_2"
    array = check_dims(array, "stimulus", second, what=what)
    check_labels(array, "stimulus", second, what=what)
    rows, columns = array.indexes["stimulus"], array.indexes[second]
    same = rows.equals(columns) or (len(rows) == len(columns) and rows.isin(columns).all())
    if not same:
        raise SchemaError(
            f"{what} must have the same labels on 'stimulus' and {second!r}; "
            f"only among the rows: {listing(rows[~rows.isin(columns)])}"
        )
    return take(array, second, rows)


def on_side(array: xr.DataArray, dim: str, side: str) -> xr.DataArray:
    """Rename a dim and its coordinates for one side of a result: ``model`` to ``model_a``."""
    if dim not in array.dims:
        return array
    array = set_aside(array, [f"{dim}{side}"])
    names = {n: f"{n}{side}" for n, c in array.coords.items() if c.dims == (dim,)}
    names[dim] = f"{dim}{side}"
    return set_aside(array, set(names.values()) - set(names)).rename(names)
