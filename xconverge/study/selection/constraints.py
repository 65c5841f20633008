"""What a set of chosen stimuli must hold: counts of cells, and distances between its stimuli."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.engine.rdms import checked_rdms
from xconverge.engine.resampling import per_label
from xconverge.kernels import subsets as kernels
from xconverge.kernels.ranks import empty_bins, quantile_bins
from xconverge.kernels.vectors import Array, working_dtype
from xconverge.labels.arguments import real, several, whole
from xconverge.labels.checks import check_only
from xconverge.labels.joins import join_all, natural_rank
from xconverge.labels.kinds import came
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.plain import plain
from xconverge.labels.text import label_text
from xconverge.study.bins import tell_merged

Quotas = int | Mapping[Any, int]
Labels = xr.Dataset | xr.DataArray | Iterable[str]


class Constraints(TypedDict, total=False):
    """Keywords of every selection: what a set of stimuli must hold (see ``select_stimuli``)."""

    groups: str | xr.DataArray | None
    quotas: Quotas | None
    match: str | xr.DataArray | Sequence[str | xr.DataArray]
    match_bins: int
    distances: xr.DataArray | None
    min_distance: float | None


class Rules(NamedTuple):
    """The constraints of one selection, and the set that it is matched to."""

    groups: str | xr.DataArray | None = None
    quotas: Quotas | None = None
    match: str | xr.DataArray | Sequence[str | xr.DataArray] = ()
    match_bins: int = 5
    distances: xr.DataArray | None = None
    min_distance: float | None = None
    match_to: Labels | None = None

    @property
    def matched(self) -> list[str | xr.DataArray]:
        """What the set is matched by."""
        return several("match", self.match)

    @property
    def attrs(self) -> dict[str, Any]:
        """What a selection says of its constraints."""
        quotas = self.quotas
        if isinstance(quotas, Mapping):
            quotas = {str(name): int(count) for name, count in quotas.items()}
        return {
            "groups": None if self.groups is None else _name(self.groups),
            "quotas": quotas,
            "match": [_name(one) for one in self.matched] or None,
            "match_bins": self.match_bins if self.matched else None,
            "min_distance": self.min_distance,
        }


def rules_of(call: str, constraints: Constraints, match_to: Labels | None = None) -> Rules:
    """Rules from the keywords of a call; others are an error."""
    known = Constraints.__annotations__
    unknown = [name for name in constraints if name not in known]
    if unknown:
        raise TypeError(
            f"{call} has no argument {', '.join(unknown)}; constraints are {', '.join(known)}"
        )
    return Rules(**constraints, match_to=match_to)


def _name(given: str | xr.DataArray) -> str:
    return given if isinstance(given, str) else str(given.name or "given")


class Code(NamedTuple):
    """One property of the stimuli: numbers (N), or which of ``names``, -1 for none."""

    label: str
    values: Array
    names: list[Any] | None

    def numbers(self, known: Array, n_bins: int) -> Array:
        """Number (N) of the quantile bin or name of each known stimulus, else -1."""
        if self.names is None:
            return quantile_bins(np.where(known, self.values, np.nan), n_bins)[0]
        return np.where(known, self.values, -1)

    def word(self, number: int, n_bins: int) -> str:
        """What a number means."""
        if self.names is None:
            return f"{self.label} bin {number + 1} of {n_bins}"
        return f"{self.label} {str(self.names[number])!r}"


class Pool(NamedTuple):
    """The stimuli of a selection, and everything that its rules ask about them.

    ``rank`` is that of their labels, ``near`` (N, N) says which two are nearer than
    ``min_distance``, ``measured`` (N) which have distances, ``reference`` (n) is ``match_to``.
    """

    labels: pd.Index
    rank: Array
    codes: list[Code]
    near: Array | None
    measured: Array
    reference: Array | None
    rules: Rules


class Cells(NamedTuple):
    """Number (N) of the cell of each stimulus that may be chosen, else -1, and how many of each.

    ``merged`` are the bins of each property that hold nothing, because values are equal.
    """

    number: Array
    wanted: Array
    words: list[str]
    merged: dict[str, list[int]]


def pool_of(sides: Sequence[xr.DataArray], n: int, rules: Rules, what: str) -> Pool:
    """The stimuli of the first side, ``what``, with everything that the rules ask about them.

    ``sides`` are arrays whose coordinates the rules may name.
    """
    whole("n", n, 1)
    whole("match_bins", rules.match_bins, 1)
    if rules.min_distance is not None:
        real("min_distance", rules.min_distance)
    if (rules.distances is None) != (rules.min_distance is None):
        raise ValueError("distances and min_distance go together")
    if rules.quotas is not None and (rules.groups is None or rules.match_to is not None):
        raise ValueError(
            "quotas count the stimuli of each of groups=…, and match_to says itself how many"
        )
    index = sides[0].indexes["stimulus"]
    codes = []
    if rules.groups is not None:
        codes.append(_code(per_label(rules.groups, sides, "groups"), False))
    for one in rules.matched:
        values = per_label(one, sides, "match")
        codes.append(_code(values, values.dtype.kind in "iuf"))
    near, measured = _near(rules, sides[0], what)
    reference = None
    if rules.match_to is not None:
        reference = positions(rules.match_to, index, n, "match_to")
    return Pool(index, natural_rank(index), codes, near, measured, reference, rules)


def _code(values: xr.DataArray, binned: bool) -> Code:
    """Numbers as they are, or the number of each value in natural order of the values."""
    label = str(values.name or "group")
    if binned:
        return Code(label, values.values.astype(np.float64), None)
    numbers, names = pd.factorize(np.asarray(values.values, dtype=object))
    rank = natural_rank(list(names))
    ordered = [names[i] for i in np.argsort(rank)]
    return Code(label, np.where(numbers < 0, -1, rank[numbers]), ordered)


def labels_of(given: Labels, what: str) -> pd.Index:
    """Labels of stimuli: of a selection, of an array, or as they are."""
    if isinstance(given, xr.Dataset | xr.DataArray):
        if "stimulus" not in given.indexes:
            raise SchemaError(
                f"{what} must be labels of stimuli, got {came(given)} without labels on 'stimulus'"
            )
        return plain(given.coords.to_dataset(), what).indexes["stimulus"]
    return pd.Index(label_text([given] if isinstance(given, str) else given, what), dtype=object)


def positions(given: Labels, index: pd.Index, n: int, what: str) -> Array:
    """Positions of these n labels, all different, all in the index."""
    labels = labels_of(given, what)
    where = index.get_indexer(labels)
    if (where < 0).any():
        raise SchemaError(
            f"{what} holds stimuli that are not there or cannot be chosen: "
            f"{listing(labels[where < 0])}; there is {listing(index, 3)}"
        )
    if len(np.unique(where)) != n or len(where) != n:
        raise ValueError(
            f"n={n}: {what} must hold as many different stimuli, it has {len(labels.unique())}"
        )
    return np.asarray(where)


def _near(rules: Rules, side: xr.DataArray, what: str) -> tuple[Array | None, Array]:
    """Which two stimuli are too near, and which stimuli have distances at all."""
    if rules.distances is None or rules.min_distance is None:
        return None, np.ones(side.sizes["stimulus"], bool)
    square = checked_rdms(
        check_only(rules.distances, "stimulus", "stimulus_2", what="distances"), "distances"
    )
    (_, square), _ = join_all("exact", **{what: side, "distances": square})
    values, measured = whole_square(square, "distances")
    near = values < rules.min_distance
    return near | near.T, measured


def whole_square(square: xr.DataArray, what: str) -> tuple[Array, Array]:
    """Distances (N, N), and which stimuli have any: those that do have all of them."""
    values = square.transpose("stimulus", "stimulus_2").values
    values = values.astype(working_dtype(values.dtype))
    np.fill_diagonal(values, np.nan)
    missing = np.isnan(values)
    measured = ~missing.all(1) & ~missing.all(0)
    # the diagonal, set to NaN above, is one missing value of each row
    holes = missing[np.ix_(measured, measured)].sum(1) > 1
    if holes.any() or np.isinf(values).any():
        raise SchemaError(
            f"{what} has NaN or infinity between stimuli that have other distances: "
            f"{listing(square.indexes['stimulus'][measured][holes])}; a stimulus without distances "
            "is NaN in all of its row and column"
        )
    np.fill_diagonal(values, 0)
    return values, measured


def cells(pool: Pool, eligible: Array, n: int) -> Cells:
    """The cells of the stimuli that may be chosen, and how many of each a set of n has."""
    known = eligible & pool.measured
    if pool.reference is not None:
        # quantile bins are those of the stimuli to choose from and of those to be matched
        known[pool.reference] = True
    bins = pool.rules.match_bins
    codes = [code.numbers(known, bins) for code in pool.codes]
    merged = {
        code.label: empty_bins(numbers, bins)
        for code, numbers in zip(pool.codes, codes, strict=True)
        if code.names is None
    }
    number = kernels.crossed(np.stack(codes or [np.where(known, 0, -1)]))
    inside = np.flatnonzero(number >= 0)
    _, first, number[inside] = np.unique(number[inside], return_index=True, return_inverse=True)
    count = len(first)
    words = [
        ", ".join(
            code.word(int(numbers[i]), bins)
            for code, numbers in zip(pool.codes, codes, strict=True)
        )
        for i in inside[first]
    ]
    wanted = np.zeros(count, np.int64)
    if pool.reference is not None:
        unmatched = number[pool.reference] < 0
        if unmatched.any():
            raise SchemaError(
                "match_to holds stimuli without a value to match: "
                f"{listing(pool.labels[pool.reference[unmatched]])}"
            )
        wanted = np.bincount(number[pool.reference], minlength=count)
        number[pool.reference] = -1
    number = np.where(eligible & pool.measured, number, -1)
    available = np.bincount(number[number >= 0], minlength=count)
    if n > available.sum():
        raise SchemaError(
            f"n={n} stimuli are wanted, and {available.sum()} of {len(number)} can be chosen: "
            "those with a finite value of everything they are chosen, grouped and matched by, and "
            "not in match_to. Ask for fewer, or drop what has missing values"
        )
    if pool.reference is None:
        wanted = _wanted(pool, number, available, n)
    short = np.flatnonzero(wanted > available)
    if len(short):
        raise SchemaError(
            "too few stimuli can be chosen in "
            + "; ".join(
                f"{words[i] or 'all'}: {wanted[i]} wanted, {available[i]} there" for i in short[:5]
            )
            + ". Ask for fewer, for fewer match_bins, or match less"
        )
    return Cells(number, wanted, words, {name: empty for name, empty in merged.items() if empty})


def tell_merged_cells(of: Cells, n_bins: int) -> dict[str, list[int]] | None:
    """Warn of properties that are matched by fewer bins; what attrs say of them."""
    for label, empty in of.merged.items():
        tell_merged(empty, n_bins, f"match {label}")
    return of.merged or None


def _wanted(pool: Pool, number: Array, available: Array, n: int) -> Array:
    """Each cell's share of the pool, or of the quota of its group."""
    if pool.rules.quotas is None:
        return kernels.apportioned(available, n)
    group = pool.codes[0]
    wanted = np.zeros(len(available), np.int64)
    for one, count in enumerate(_quotas(pool.rules.quotas, group.names or [], n)):
        mine = np.unique(number[(group.values == one) & (number >= 0)])
        if count > available[mine].sum():
            raise SchemaError(
                f"{group.word(one, 0)}: {count} stimuli are wanted, {available[mine].sum()} can be "
                "chosen; lower its quota"
            )
        wanted[mine] = kernels.apportioned(available[mine], count)
    return wanted


def _quotas(quotas: Quotas, names: list[Any], n: int) -> list[int]:
    """How many of every group, in their order."""
    if isinstance(quotas, Mapping):
        unknown = [name for name in quotas if name not in names]
        if unknown:
            raise SchemaError(
                f"quotas names the groups {listing(unknown)}, which are not there; there is "
                f"{listing(names)}"
            )
        result = [int(quotas.get(name, 0)) for name in names]
    else:
        result = [int(quotas)] * len(names)
    if min(result) < 0 or sum(result) != n:
        raise ValueError(
            f"quotas must be counts that sum to n={n}; over {len(names)} groups they sum to "
            f"{sum(result)}"
        )
    return result
