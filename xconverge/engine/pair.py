"""Pairing by another coordinate: stores whose stimuli carry different ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.engine.repeats import grouped, relabelled
from xconverge.kernels.vectors import Array
from xconverge.labels.checks import check_dims, check_labels, check_twins, read_coordinates
from xconverge.labels.joins import kind_of
from xconverge.labels.messages import SchemaError, choose, listing

PairOn = str | tuple[str, str]
Repeats = Literal["mean", "keep"]
REPEAT = "repeat"


def pair(
    a: xr.DataArray,
    b: xr.DataArray,
    on: PairOn,
    *,
    repeats: Repeats = "mean",
    stimulus: str = "stimulus",
    feature: str = "feature",
) -> tuple[xr.DataArray, xr.DataArray]:
    """Give two arrays the same kind of labels: those of a coordinate that pairs their stimuli.

    Every function of two inputs does this first when it is called with ``pair_on=on``.

    Parameters
    ----------
    a, b : DataArray
        Anything with stimuli: representation sets, RDMs (both their dims), dispersion,
        alignment, other values per stimulus.
    on : str or (str, str)
        Coordinate on ``stimulus`` whose values become the labels. A side that has no such
        coordinate is labelled by them already: images, where captions say their ``image_id``. Two
        names are those of ``a`` and of ``b``, ``"stimulus"`` for the labels themselves.
    repeats : {"mean", "keep"}
        What becomes of rows with the same value, five captions of one image say: their mean, or
        each of them, along a new dim ``repeat``.
    stimulus, feature : str
        Names of the dims.

    Returns
    -------
    (DataArray, DataArray)
        Both sides, each with its labels in the order in which they appear in it; not yet joined,
        and lazy where the input is. The old labels are kept as the coordinate ``stimulus_id``
        where that name is free and they still are one a row. Stimulus coordinates that are the
        same in all rows of a value stay; with ``mean`` the others go, and ``n_repeats`` says how
        many rows there were; with ``keep`` they are (repeat, stimulus), text being empty where a
        stimulus has fewer rows. ``attrs`` say ``pair_on`` and ``repeats``.

    Raises
    ------
    SchemaError
        No side has the coordinate; values that are missing, empty, not text, or that only look
        alike; labels (bins, text) that cannot be averaged; a neighbour graph whose rows would
        merge.

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
    >>> a, b = pair(images, captions, "image_id")
    >>> b.sizes["stimulus"], b["stimulus"].values[:2].tolist(), b["n_repeats"].values[:2].tolist()
    (20, ['img0', 'img1'], [2, 2])
    >>> alignment(images, captions, k=3, pair_on="image_id").equals(alignment(a, b, k=3))
    True
    """
    a, b = paired("" if on is None else on, repeats, stimulus, feature, a=a, b=b)
    return a, b


def paired(pair_on: PairOn | None, repeats: str, stimulus: str, feature: str, **arrays: Any) -> Any:
    """The arrays, relabelled by the coordinate ``pair_on``; as they are where it is None.

    The first two are the sides. The others ride along: values per stimulus or RDMs, labelled as
    one of the sides was, or with a coordinate of their own; their repeats are averaged. Strings
    and None stay; sequences and mappings are paired one by one.
    """
    choose("repeats", repeats, ["mean", "keep"])
    if pair_on is None:
        if repeats != "mean":
            raise ValueError(f"repeats={repeats!r} goes with pair_on=…, which says what repeats")
        return tuple(arrays.values())
    names = (pair_on, pair_on) if isinstance(pair_on, str) else tuple(pair_on)
    if len(names) != 2 or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"pair_on={pair_on!r} must be the name of a coordinate, or a pair of them")
    told = told_of(pair_on, repeats)
    both = list(arrays)[:2]
    sides = [
        _Side(what, array, name, stimulus, repeats == "keep")
        for key, name in zip(both, names, strict=True)
        for what, array in _flat(key, arrays[key])
    ]
    _find(sides, isinstance(pair_on, str), stimulus)
    many = sum(side.groups.repeated for side in sides) > 1
    done: dict[str, xr.DataArray] = {}
    for side, end in zip(sides, "ab" if len(sides) == 2 else [""] * len(sides), strict=True):
        dim = None if repeats == "mean" else f"{REPEAT}_{end}" if many else REPEAT
        found = relabelled(side.array, side.groups, side.what, dim, stimulus, feature)
        done[side.what] = found.assign_attrs(told)

    def ride(what: str, array: xr.DataArray) -> xr.DataArray:
        if what in done:
            return done[what]
        if stimulus not in array.dims or stimulus not in array.indexes:
            return array
        array = read_coordinates(array)
        groups = grouped(array, _values_of(array, what, names, sides, stimulus), stimulus, False)
        return relabelled(array, groups, what, None, stimulus, feature)

    return tuple(_each(key, given, ride) for key, given in arrays.items())


def told_of(pair_on: PairOn | None, repeats: str) -> dict[str, Any]:
    """What attrs say of a pairing."""
    if pair_on is None:
        return {}
    return {
        "pair_on": pair_on if isinstance(pair_on, str) else list(pair_on),
        "repeats": repeats,
    }


def refuse_keep(repeats: str, call: str) -> None:
    """Refuse ``repeats="keep"`` for a call that maps over no extra dim."""
    if repeats == "keep":
        raise ValueError(
            f"{call} maps over no further dim, so repeats='keep' cannot be asked of it: pair with "
            "xconverge.pair(…, repeats='keep'), and call it for each .isel(repeat=r)"
        )


def row_values(
    array: xr.DataArray, other: xr.DataArray, pair_on: PairOn, what: tuple[str, str], stimulus: str
) -> pd.Index:
    """The value by which each row of ``array`` is paired with ``other``."""
    names = (pair_on, pair_on) if isinstance(pair_on, str) else pair_on
    sides = [
        _Side(*side, stimulus, False) for side in zip(what, (array, other), names, strict=True)
    ]
    _find(sides, isinstance(pair_on, str), stimulus)
    return pd.Index(sides[0].values)


class _Side:
    """One of the arrays that are paired, and the coordinate that pairs it."""

    def __init__(self, what: str, array: Any, name: str, stimulus: str, natural: bool) -> None:
        self.what, self.name, self.stimulus, self.natural = what, name, stimulus, natural
        self.array = check_dims(array, stimulus, what=what)
        check_labels(self.array, stimulus, what=what)
        self.old = self.array.indexes[stimulus]

    @property
    def has(self) -> bool:
        return _has(self.array, self.name, self.stimulus)

    def read(self) -> None:
        """Find the values, text that is not empty, one a row."""
        self.values = _text(self.array, self.what, self.name, self.stimulus)
        self.groups = grouped(self.array, self.values, self.stimulus, self.natural)


def _has(array: xr.DataArray, name: str, stimulus: str) -> bool:
    return name in array.coords and array.coords[name].dims == (stimulus,)


def _find(sides: Sequence[_Side], one_name: bool, stimulus: str) -> None:
    """Values of every side: of its coordinate, or its labels where another has the coordinate."""
    lacking = [side for side in sides if not side.has]
    if lacking and (not one_name or len(lacking) == len(sides)):
        there = "; ".join(
            f"{side.what} has {listing(_coordinates(side.array, stimulus)) or 'none'}"
            for side in sides
        )
        raise SchemaError(
            f"pair_on: {' and '.join(dict.fromkeys(repr(side.name) for side in lacking))} must be "
            f"a coordinate on {stimulus!r} "
            f"{'of at least one side' if one_name else f'of {lacking[0].what}'}; {there}"
        )
    for side in lacking:
        side.name = stimulus
    kinds = {side.what: kind_of(_objects(side.array.coords[side.name])) for side in sides}
    if "text" in kinds.values() and set(kinds.values()) != {"text"}:
        wrong = next(side for side in sides if kinds[side.what] != "text")
        right = next(side for side in sides if kinds[side.what] == "text")
        raise SchemaError(
            f"{wrong.what} has {kinds[wrong.what]} values in {wrong.name!r} "
            f"({listing(wrong.array.coords[wrong.name].values, 3)}), {right.what} has text in "
            f"{right.name!r} ({listing(right.array.coords[right.name].values, 3)}), and 1 is not "
            f"'1': {_as_text(wrong.name, stimulus)}"
        )
    for side in sides:
        side.read()


def _coordinates(array: xr.DataArray, stimulus: str) -> list[str]:
    """Names of the coordinates that have one value a stimulus."""
    return [str(name) for name in array.coords if _has(array, str(name), stimulus)]


def _objects(coord: xr.DataArray) -> Array:
    return np.asarray(coord.values, dtype=object)


def _as_text(name: str, stimulus: str) -> str:
    return f"make it text with .assign_coords({name}=('{stimulus}', ….{name}.values.astype(str)))"


def _text(array: xr.DataArray, what: str, name: str, stimulus: str) -> Array:
    """Values (stimulus) of a coordinate that are text like labels."""
    values = _objects(array.coords[name])
    labels = array.indexes[stimulus]
    none = np.asarray(pd.isna(values))
    if none.any():
        raise SchemaError(
            f"{what} has no {name!r} for {stimulus} {listing(labels[none])}; fill it in, or leave "
            f"these out with .isel({stimulus}=….{name}.notnull().values)"
        )
    if (kind := kind_of(values)) != "text":
        raise SchemaError(
            f"pairing needs text, and {what} has {kind} values in {name!r} "
            f"({listing(values, 3)}); {_as_text(name, stimulus)}"
        )
    empty = np.array([not value for value in values])
    if empty.any():
        raise SchemaError(
            f"{what} has an empty {name!r} for {stimulus} {listing(labels[empty])}; fill it in, or "
            f"leave these out with .isel({stimulus}=….{name}.values != '')"
        )
    check_twins(dict.fromkeys(values), f"{what} has values in {name!r}")
    return values


def _values_of(
    array: xr.DataArray,
    what: str,
    names: tuple[str, ...],
    sides: Sequence[_Side],
    stimulus: str,
) -> Array:
    """The value of each row of an array that rides along: its own, or that of a side's row."""
    own = [
        _text(array, what, name, stimulus)
        for name in dict.fromkeys(names)
        if name != stimulus and _has(array, name, stimulus)
    ]
    check_labels(array, stimulus, what=what)
    labels = array.indexes[stimulus]
    ways = {tuple(values): values for values in own}
    if not ways:
        plain = np.asarray(labels, dtype=object)
        if any(labels.isin(side.groups.labels).any() for side in sides):
            ways[tuple(plain)] = plain
        for side in sides:
            where = side.old.get_indexer(labels)
            if (where >= 0).any():
                values = np.where(where >= 0, side.values[where], plain)
                ways[tuple(values)] = values
        if not ways:
            return plain
    if len(ways) > 1:
        differ = next(i for i, values in enumerate(zip(*ways, strict=True)) if len(set(values)) > 1)
        raise SchemaError(
            f"{what} can be paired in several ways: its {stimulus} {str(labels[differ])!r} may be "
            f"{listing(dict.fromkeys(way[differ] for way in ways))}; give it the coordinate "
            f"{' or '.join(repr(name) for name in names if name != stimulus)}"
        )
    return next(iter(ways.values()))


def _flat(key: str, given: Any) -> Iterator[tuple[str, xr.DataArray]]:
    """Every array in an argument, with what errors call it."""
    if isinstance(given, Mapping):
        for name, one in dict(given).items():
            yield from _flat(f"{key} {name}", one)
    elif isinstance(given, Sequence) and not isinstance(given, str):
        for number, one in enumerate(given):
            yield from _flat(f"{key} {number}", one)
    elif given is not None:
        yield key, given


def _each(key: str, given: Any, call: Callable[[str, xr.DataArray], xr.DataArray]) -> Any:
    """An argument with ``call`` made of every array in it."""
    if isinstance(given, xr.DataArray):
        return call(key, given)
    if isinstance(given, Mapping):
        return {name: _each(f"{key} {name}", one, call) for name, one in dict(given).items()}
    if isinstance(given, Sequence) and not isinstance(given, str):
        return [_each(f"{key} {number}", one, call) for number, one in enumerate(given)]
    return given
