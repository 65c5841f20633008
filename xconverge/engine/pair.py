"""Inputs that belong together: brought to the same stimuli, and checked once for a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.rdms import checked_rdms
from xconverge.engine.repeats import grouped, relabelled
from xconverge.engine.resampling import Rng, seed_of
from xconverge.kernels.vectors import Array
from xconverge.labels.checks import (
    check_dims,
    check_labels,
    check_lookalikes,
    check_representations,
)
from xconverge.labels.coordinates import read, set_aside
from xconverge.labels.joins import (
    Join,
    join_all,
    join_extra,
    join_labels,
    on_side,
    stimulus_rank,
)
from xconverge.labels.kinds import came
from xconverge.labels.messages import SchemaError, choose, listing
from xconverge.labels.plain import plain
from xconverge.labels.text import label_text
from xconverge.labels.variables import describe

PairOn = str | tuple[str, str]
Repeats = Literal["mean", "keep"]
REPEAT = "repeat"
PAIRING = ("pair_on", "repeats", "join", "n_dropped")


def pair(
    a: xr.DataArray,
    b: xr.DataArray,
    *more: xr.DataArray,
    on: PairOn | None = None,
    join: Join = "exact",
    repeats: Repeats = "mean",
) -> tuple[xr.DataArray, ...]:
    """Bring arrays to the same stimuli: the one place where sets are cut and ids translated.

    Every function of several inputs wants the same labels in all of them, in any order. Where
    they have not, this makes them so.

    Parameters
    ----------
    a, b : DataArray
        Anything with labels on ``stimulus``: representation sets, RDMs (both their dims),
        dispersion, alignment, other values per stimulus.
    *more : DataArray
        What goes with them: a dispersion, nuisance RDMs, covariates, strata. They carry the labels
        of either side, or those of ``on``, or have the coordinate too.
    on : str or (str, str), optional
        Coordinate on ``stimulus`` whose values become the labels. A side that has no such
        coordinate is labelled by them already: images, where captions say their ``image_id``. Two
        names are those of ``a`` and of ``b``, ``"stimulus"`` for the labels themselves.
    join : {"exact", "inner"}
        Refuse arrays of other stimuli, or keep those that all have.
    repeats : {"mean", "keep"}
        What becomes of rows with the same value, five captions of one image say: their mean, or
        each of them, along a new dim ``repeat``. Those of ``more`` are averaged.

    Returns
    -------
    tuple of DataArray
        As many as were given, over the same stimuli in the order of ``a``; lazy where the input
        is. With ``on``, the old labels are kept as the coordinate ``stimulus_id`` where that name
        is free and they still are one a row. Stimulus coordinates that are the same in all rows of
        a value stay; with ``mean`` the others go, and ``n_repeats`` says how many rows there were;
        with ``keep`` they are (repeat, stimulus), text being empty where a stimulus has fewer
        rows. ``attrs`` say ``pair_on``, ``repeats``, ``join`` and ``n_dropped``, the stimuli that
        not all have; results copy them.

    Raises
    ------
    SchemaError
        Stimuli that differ (``exact``) or are nowhere the same; no side has the coordinate; values
        that are missing, empty, no labels (floats, say), or that only look alike; labels (bins,
        text) that cannot be averaged; a neighbour graph whose rows would merge.

    Notes
    -----
    ``mean``: over the rows that are there (a NaN row was never seen), in double, the result in at
    least single precision; NaN where none is. In an RDM the distance of two images is the mean
    over all pairs of their captions, and zero on the diagonal. A task holds as many rows as a chunk
    has, or those of one value where they are more; of RDMs, one RDM. Rows that belong together but
    lie far apart are gathered from many chunks: store captions in the order of their images.

    ``keep``: the r-th row of every value, in the natural order of the labels, so that the order
    of rows changes nothing; NaN, as if never seen, where a value has fewer. Measures map over
    ``repeat`` as over any other dim. If both sides have several, the dims are ``repeat_a`` and
    ``repeat_b``, an outer product: the r-th rows of both have nothing to do with each other. The
    image is not repeated once for each of its captions: it would be its own nearest neighbour,
    which raises every measure of neighbours and RDMs.

    Examples
    --------
    >>> from xconverge import alignment, stack_models
    >>> rng = np.random.default_rng(0)
    >>> ids = [f"img{i}" for i in range(20)]
    >>> images = stack_models({"vit": rng.standard_normal((20, 8))}, stimuli=ids)
    >>> captions = stack_models({"bert": rng.standard_normal((40, 6))},
    ...     stimuli=[f"cap{i}" for i in range(40)])
    >>> captions = captions.assign_coords(image_id=("stimulus", np.repeat(ids, 2)))
    >>> a, b = pair(images, captions, on="image_id")
    >>> b.sizes["stimulus"], b["stimulus"].values[:2].tolist(), b["n_repeats"].values[:2].tolist()
    (20, ['img0', 'img1'], [2, 2])
    >>> alignment(a, b, k=3).attrs["pair_on"]
    'image_id'
    """
    choose("repeats", repeats, ["mean", "keep"])
    arrays = {"a": a, "b": b} | {f"more {number}": one for number, one in enumerate(more)}
    arrays = {
        what: checked_rdms(one, what) if "stimulus_2" in getattr(one, "dims", ()) else one
        for what, one in arrays.items()
    }
    told: dict[str, Any] = {"join": join}
    if on is not None:
        arrays = _relabelled(on, repeats, arrays)
        told |= {"pair_on": on if isinstance(on, str) else list(on), "repeats": repeats}
    elif repeats != "mean":
        raise ValueError(f"repeats={repeats!r} goes with on=…, which says what repeats")
    joined, dropped = join_all(join, **arrays)
    return tuple(one.assign_attrs(told | {"n_dropped": dropped}) for one in joined)


def pairing_attrs(*arrays: xr.DataArray | None) -> dict[str, Any]:
    """What the attrs of inputs say of how they were paired, for those of a result."""
    found: dict[str, Any] = {}
    for array in arrays:
        if array is not None:
            found = {k: array.attrs[k] for k in PAIRING if k in array.attrs} | found
    return found


def refuse_repeats(call: str, *arrays: object) -> None:
    """Refuse rows kept along ``repeat`` for a call that maps over no extra dim."""
    for array in arrays:
        kept = [str(d) for d in getattr(array, "dims", ()) if str(d).startswith(REPEAT)]
        if kept and kept[0] in (REPEAT, f"{REPEAT}_a", f"{REPEAT}_b"):
            raise SchemaError(
                f"{call} maps over no further dim, and an input has {kept[0]!r}: call it for each "
                f".isel({kept[0]}=r), or pair with repeats='mean'"
            )


class Pair:
    """Two representation sets of one call, made once at its door.

    Both are checked and have the same stimuli in the same order. Stimulus coordinates that
    contradict each other carry the suffix of their side, since a result has room for both.

    Parameters
    ----------
    a, b : DataArray
        (…, model, stimulus, feature), or neighbour graphs.
    rng : Generator, int or None
        Where its seed comes from.

    Attributes
    ----------
    seed : int
        What was given, or drawn; the same seed gives the same digits.
    stream : int
        Seed of the draws, made of ``seed``.
    itself : bool
        Whether both sides are one set, of which everything is then made once.
    """

    def __init__(self, a: xr.DataArray, b: xr.DataArray, rng: Rng = None) -> None:
        one, other = (
            set_aside(check_representations(side, what), ("model_a", "model_b"))
            for side, what in ((a, "a"), (b, "b"))
        )
        one, other, _ = join_labels(one, other, "stimulus", "exact")
        other = join_extra(one, other, ("a", "b"))
        self.a, self.b = _both_coordinates(one, other)
        self.seed, self.stream = seed_of(rng)
        self.itself = a is b

    @property
    def sides(self) -> tuple[tuple[xr.DataArray, str], tuple[xr.DataArray, str]]:
        """Each side with the letter that its dims end in."""
        return (self.a, "a"), (self.b, "b")

    @property
    def attrs(self) -> dict[str, Any]:
        """What every result of the pair says of it."""
        modalities = {f"modality_{w}": side.attrs.get("modality") for side, w in self.sides}
        return {**modalities, **pairing_attrs(self.a, self.b)}

    @cached_property
    def rank(self) -> xr.DataArray:
        """Rank (stimulus) of the labels: what draws and ties follow, and not positions."""
        return stimulus_rank(self.a)

    @cached_property
    def seen(self) -> tuple[xr.DataArray, xr.DataArray]:
        """Which stimuli (model, stimulus) each side has."""
        return seen_of(self.a), seen_of(self.b)

    def n_stimuli(self) -> xr.DataArray:
        """How many stimuli both models of each pair saw (model_a, model_b)."""
        there = [on_side(seen, "model", f"_{w}") for seen, w in zip(self.seen, "ab", strict=True)]
        count = apply(_count_both, *there, core=[["stimulus"]] * 2, dtypes=[np.int64])
        return describe(count, "n_stimuli").reset_coords(drop=True)

    def mapped(self, change: Callable[[xr.DataArray, str], xr.DataArray]) -> Pair:
        """The pair of what is made of each side, which is told its letter."""
        one = change(self.a, "a")
        return Pair(one, one if self.itself else change(self.b, "b"), self.seed)

    def isel(self, stimuli: Any) -> Pair:
        """The pair over some of its stimuli."""
        return self.mapped(lambda side, _: side.isel({"stimulus": stimuli}))


def seen_of(reps: xr.DataArray) -> xr.DataArray:
    """Which stimuli (…, model, stimulus) the models of a set or of a neighbour graph saw."""
    return reps.isel(feature=0).notnull().reset_coords(drop=True)


def _count_both(a: Array, b: Array) -> int:
    return int(np.count_nonzero(a & b))


def _both_coordinates(a: xr.DataArray, b: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Stimulus coordinates that contradict each other get the suffix of their side.

    Those that both have are compared, and read for it where they are lazy: the names in a result
    must not depend on chunks, and ``.chunk()`` makes the coordinates of an array lazy with it.
    """
    clash = [
        str(name)
        for name, coord in a.coords.items()
        if coord.dims == ("stimulus",) and name in b.coords and not _same(coord, b.coords[name])
    ]
    one, other = (
        # one that is renamed itself makes room
        set_aside(side, {f"{n}_{w}" for n in clash} - set(clash)).rename(
            {n: f"{n}_{w}" for n in clash}
        )
        for side, w in ((a, "a"), (b, "b"))
    )
    return one, other


def _same(one: xr.DataArray, other: xr.DataArray) -> bool:
    """Whether two coordinates hold the same values; lazy ones stay so."""
    if one.chunks and other.chunks and one.data.name == other.data.name:
        # dask names an array after what it holds, so that nothing needs to be read
        return True
    return xr.DataArray(read(one)).equals(xr.DataArray(read(other)))


def _relabelled(
    on: PairOn, repeats: str, arrays: Mapping[str, xr.DataArray]
) -> dict[str, xr.DataArray]:
    """The arrays, labelled by the coordinate; the first two are the sides, the others ride along.

    Those carry values per stimulus or RDMs, labelled as one of the sides was, or with a coordinate
    of their own; their repeats are averaged.
    """
    names = (on, on) if isinstance(on, str) else tuple(on) if isinstance(on, list | tuple) else ()
    if len(names) != 2 or not all(isinstance(name, str) and name for name in names):
        raise ValueError(
            "on must be the name of a coordinate on 'stimulus', or a pair of names, got "
            f"on={came(on)}"
        )
    sides = [
        _Side(what, arrays[what], name, repeats == "keep")
        for what, name in zip(("a", "b"), names, strict=True)
    ]
    _find(sides, isinstance(on, str))
    many = sum(side.groups.repeated for side in sides) > 1
    found: dict[str, xr.DataArray] = {}
    for side in sides:
        dim = None if repeats == "mean" else f"{REPEAT}_{side.what}" if many else REPEAT
        found[side.what] = relabelled(side.array, side.groups, side.what, dim)
    for what, array in arrays.items():
        if what not in found:
            array = plain(array, what)
            groups = grouped(array, _values_of(array, what, names, sides), False)
            found[what] = relabelled(array, groups, what, None)
    return found


class _Side:
    """One of the arrays that are paired, and the coordinate that pairs it."""

    def __init__(self, what: str, array: Any, name: str, natural: bool) -> None:
        self.what, self.name, self.stimulus, self.natural = what, name, "stimulus", natural
        self.array = check_dims(array, "stimulus", what=what)
        check_labels(self.array, "stimulus", what=what)
        self.old = self.array.indexes["stimulus"]

    @property
    def has(self) -> bool:
        return _has(self.array, self.name)

    def read(self) -> None:
        """Find the values, text that is not empty, one a row."""
        self.values = _text(self.array, self.what, self.name)
        self.groups = grouped(self.array, self.values, self.natural)


def _has(array: xr.DataArray, name: str) -> bool:
    return name in array.coords and array.coords[name].dims == ("stimulus",)


def _find(sides: Sequence[_Side], one_name: bool) -> None:
    """Values of every side: of its coordinate, or its labels where another has the coordinate."""
    lacking = [side for side in sides if not side.has]
    if lacking and (not one_name or len(lacking) == len(sides)):
        there = "; ".join(
            f"{side.what} has {listing(_coordinates(side.array)) or 'none'}" for side in sides
        )
        raise SchemaError(
            f"on: {' and '.join(dict.fromkeys(repr(side.name) for side in lacking))} must be "
            "a coordinate on 'stimulus' "
            f"{'of at least one side' if one_name else f'of {lacking[0].what}'}; {there}"
        )
    for side in lacking:
        side.name = "stimulus"
    for side in sides:
        coord = side.array.coords[side.name]
        if coord.chunks:
            side.array = side.array.assign_coords({side.name: ("stimulus", read(coord))})
    for side in sides:
        side.read()


def _coordinates(array: xr.DataArray) -> list[str]:
    """Names of the coordinates that have one value a stimulus."""
    return [str(name) for name in array.coords if _has(array, str(name))]


def _text(array: xr.DataArray, what: str, name: str) -> Array:
    """Values (stimulus) of a coordinate as text, like labels."""
    given = read(array.coords[name])
    labels = array.indexes["stimulus"]
    none = np.asarray(pd.isna(given))
    if none.any():
        raise SchemaError(
            f"{what} has no {name!r} for stimulus {listing(labels[none])}; fill it in, or leave "
            f"these out with .isel(stimulus=….{name}.notnull().values)"
        )
    values = label_text(given, what, f" in {name!r}")
    empty = np.array([not value for value in values])
    if empty.any():
        raise SchemaError(
            f"{what} has an empty {name!r} for stimulus {listing(labels[empty])}; fill it in, or "
            f"leave these out with .isel(stimulus=….{name}.values != '')"
        )
    check_lookalikes(dict.fromkeys(values), f"{what} has values in {name!r}")
    return values


def _values_of(
    array: xr.DataArray, what: str, names: tuple[str, ...], sides: Sequence[_Side]
) -> Array:
    """The value of each row of an array that rides along: its own, or that of a side's row."""
    own = [
        _text(array, what, name)
        for name in dict.fromkeys(names)
        if name != "stimulus" and _has(array, name)
    ]
    check_labels(array, "stimulus", what=what)
    labels = array.indexes["stimulus"]
    ways = {tuple(values): values for values in own}
    if not ways:
        own_labels = np.asarray(labels, dtype=object)
        if any(labels.isin(side.groups.labels).any() for side in sides):
            ways[tuple(own_labels)] = own_labels
        for side in sides:
            where = side.old.get_indexer(labels)
            if (where >= 0).any():
                values = np.where(where >= 0, side.values[where], own_labels)
                ways[tuple(values)] = values
        if not ways:
            return own_labels
    if len(ways) > 1:
        differ = next(i for i, values in enumerate(zip(*ways, strict=True)) if len(set(values)) > 1)
        raise SchemaError(
            f"{what} can be paired in several ways: its stimulus {str(labels[differ])!r} may be "
            f"{listing(dict.fromkeys(way[differ] for way in ways))}; give it the coordinate "
            f"{' or '.join(repr(name) for name in names if name != 'stimulus')}"
        )
    return next(iter(ways.values()))
