"""Pairing by another coordinate: stores whose stimuli carry different ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr

from xconverge._apply import apply
from xconverge.kernels.groups import group_distances, group_means
from xconverge.kernels.rows import Array, working_dtype
from xconverge.schema import (
    SchemaError,
    check_dims,
    check_labels,
    check_twins,
    choose,
    describe,
    feature_dim,
    is_graph,
    kind_of,
    listing,
    natural_rank,
    on_side,
    read_coordinates,
    square_rdm,
)

PairOn = str | tuple[str, str]
Repeats = Literal["mean", "keep"]
REPEAT = "repeat"
N_REPEATS = "n_repeats"


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
        found = _relabelled(side.array, side.groups, side.what, dim, stimulus, feature)
        done[side.what] = found.assign_attrs(told)

    def ride(what: str, array: xr.DataArray) -> xr.DataArray:
        if what in done:
            return done[what]
        if stimulus not in array.dims or stimulus not in array.indexes:
            return array
        array = read_coordinates(array)
        groups = _groups(array, _values_of(array, what, names, sides, stimulus), stimulus, False)
        return _relabelled(array, groups, what, None, stimulus, feature)

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


class _Groups(NamedTuple):
    """Rows of the same value: their order, group after group, and how many each group has."""

    labels: Array
    order: Array
    counts: Array

    @property
    def repeated(self) -> bool:
        return bool((self.counts > 1).any())

    @property
    def numbers(self) -> Array:
        """Group of each row, in the order of groups."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @property
    def firsts(self) -> Array:
        """Position of the first row of each group."""
        return np.asarray(self.order[np.cumsum(self.counts) - self.counts])


def _groups(array: xr.DataArray, values: Array, stimulus: str, natural: bool) -> _Groups:
    """Groups in order of appearance; inside, rows in an order that follows their labels."""
    numbers, labels = pd.factorize(np.asarray(values, dtype=object))
    counts = np.bincount(numbers, minlength=len(labels))
    order = np.arange(len(numbers))
    if (counts > 1).any():
        names = array.indexes[stimulus]
        text = [str(name) for name in names]
        rank = natural_rank(names) if natural else np.argsort(np.argsort(np.array(text, object)))
        order = np.lexsort((rank, numbers))
    return _Groups(np.asarray(labels, dtype=object), order, counts)


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
        self.groups = _groups(self.array, self.values, self.stimulus, self.natural)


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


def _relabelled(
    array: xr.DataArray,
    groups: _Groups,
    what: str,
    repeat: str | None,
    stimulus: str,
    feature: str,
) -> xr.DataArray:
    """The array over the values of its groups, merged or, along the dim ``repeat``, kept."""
    dims = [stimulus]
    if f"{stimulus}_2" in array.dims:
        array = square_rdm(array, what, stimulus)
        dims.append(f"{stimulus}_2")
    labels, old = np.asarray(array.indexes[stimulus], dtype=object), f"{stimulus}_id"
    same = len(labels) == len(groups.labels) and bool((labels == groups.labels).all())
    if not same and old not in array.coords and old not in array.dims:
        array = array.assign_coords({old: (stimulus, labels)})
    bare = array.drop_vars([n for n, c in array.coords.items() if set(dims) & set(c.dims)])
    columns = {
        name: coord.variable.to_base_variable().transpose(stimulus, ...)
        for name, coord in array.coords.items()
        if name != stimulus and stimulus in coord.dims and f"{stimulus}_2" not in coord.dims
    }
    if not groups.repeated:
        result, coords = bare, columns
    else:
        _check_merging(array, groups, what, repeat, feature, dims)
        if repeat is None:
            result = _merged(bare, groups, dims, feature)
            coords = {
                name: column[groups.firsts]
                for name, column in columns.items()
                if _constant(column, groups)
            }
            counts = describe(xr.DataArray(groups.counts, dims=stimulus), N_REPEATS)
            coords[N_REPEATS] = counts.variable
        else:
            where = _positions(groups)
            result = _kept(bare, where, repeat, dims)
            coords = {
                name: column[groups.firsts] if _constant(column, groups)
                else _spread(column, where, repeat)
                for name, column in columns.items()
            }  # fmt: skip
    result = result.transpose(..., *array.dims).assign_coords({stimulus: groups.labels, **coords})
    if len(dims) == 2:
        result = result.assign_coords(on_side(result[stimulus], stimulus, "_2").coords)
    result = result.rename(array.name)
    result.attrs = dict(array.attrs)
    return result


def _check_merging(
    array: xr.DataArray,
    groups: _Groups,
    what: str,
    repeat: str | None,
    feature: str,
    dims: Sequence[str],
) -> None:
    """Refuse what cannot be merged or kept, before anything is computed."""
    stimulus = dims[0]
    if is_graph(array):
        raise SchemaError(
            f"{what} is a neighbour graph, which holds positions, and several of its rows are of "
            "one value: pair the representations first (xconverge.pair), then make its "
            "neighbor_graph"
        )
    if repeat is not None:
        if repeat in array.dims or repeat in array.coords:
            raise SchemaError(
                f"{what} has {repeat!r} already, which repeats='keep' adds; .rename it"
            )
        return
    if _is_label(array, feature, dims) and not _is_constant(array, groups, stimulus):
        raise SchemaError(
            f"{what} ({array.name or 'unnamed'}, {array.dtype}) holds labels or whole numbers, and "
            "they are not known to be the same in all rows of one value: a mean of labels means "
            "nothing. Make them after pairing (dispersion_bins of paired dispersion); if they are "
            "amounts, use .astype(float); if they are lazy, .compute() them first"
        )


def _is_label(array: xr.DataArray, feature: str, dims: Sequence[str]) -> bool:
    """Whether a mean of values would mean nothing: names, bins, other whole numbers."""
    if array.attrs.get("kind") == "label":
        return True
    single = len(dims) == 1 and _vector_dim(array, feature) is None
    return array.dtype.kind not in "fiub" or (single and array.dtype.kind in "iub")


def _is_constant(array: xr.DataArray, groups: _Groups, stimulus: str) -> bool:
    """Whether values in memory are the same in all rows of every group."""
    plain = array.chunks is None and f"{stimulus}_2" not in array.dims
    return plain and _constant(array.variable.transpose(stimulus, ...), groups)


def _vector_dim(array: xr.DataArray, feature: str) -> str | None:
    """The dim of vectors, None where an array holds single values."""
    names = (feature, feature_dim(array, "feature"))
    return next((name for name in names if name in array.dims), None)


def _merged(
    array: xr.DataArray, groups: _Groups, dims: Sequence[str], feature: str
) -> xr.DataArray:
    """Means over the rows of every group."""
    stimulus = dims[0]
    if _is_label(array, feature, dims):
        return array.isel({stimulus: groups.firsts})
    dtype = working_dtype(array.dtype)
    if len(dims) == 2:
        result: xr.DataArray = apply(
            group_distances,
            array.isel(dict.fromkeys(dims, groups.order)),
            xr.DataArray(groups.numbers, dims=stimulus),
            core=[dims, [stimulus]],
            out=[["_group", "_group_2"]],
            sizes=dict.fromkeys(["_group", "_group_2"], len(groups.counts)),
            dtypes=[dtype],
            cure="fewer stimuli (.isel), or pair the representations, before their RDM",
            kind=dtype,
        )
        return result.rename(_group=dims[0], _group_2=dims[1])
    vector = _vector_dim(array, feature)
    rows = array.transpose(..., stimulus, *([vector] if vector else []))
    means = _means(rows.data if vector else rows.data[..., None], groups, dtype)
    return xr.DataArray(means if vector else means[..., 0], dims=rows.dims, coords=array.coords)


def _means(rows: Any, groups: _Groups, dtype: Any) -> Any:
    """Means (…, G, F) of rows (…, n, F), block by block where they are lazy."""
    axis = rows.ndim - 2
    if not isinstance(rows, da.Array):
        rows = np.take(rows, groups.order, axis)
        return group_means(rows, np.isnan(rows).all(-1), groups.numbers, dtype)
    ends = np.cumsum(groups.counts)
    size = -(-rows.shape[axis] // rows.numblocks[axis])
    cuts = ends[:-1][np.diff((ends - 1) // size) > 0]
    rows = rows.shuffle([part.tolist() for part in np.split(groups.order, cuts)], axis)
    chunks = rows.chunks[axis]
    sizes = np.diff(np.searchsorted(ends, np.cumsum(chunks)) + 1, prepend=0)
    dims = tuple(range(rows.ndim))
    return da.blockwise(
        group_means, dims, rows, dims, da.isnan(rows).all(-1), dims[:-1],
        da.from_array(groups.numbers, chunks=(chunks,)), (axis,),
        dtype=dtype, adjust_chunks={axis: tuple(map(int, sizes))},
        meta=np.empty((0,) * rows.ndim, dtype), kind=dtype,
    )  # fmt: skip


def _positions(groups: _Groups) -> Array:
    """Position (R, G) of the r-th row of every group, -1 where it has fewer."""
    place = np.arange(len(groups.order)) - np.repeat(
        np.cumsum(groups.counts) - groups.counts, groups.counts
    )
    where = np.full((groups.counts.max(), len(groups.counts)), -1)
    where[place, groups.numbers] = groups.order
    return where


def _kept(array: xr.DataArray, where: Array, repeat: str, dims: Sequence[str]) -> xr.DataArray:
    """The r-th row of every group for each r; NaN where a group has fewer."""
    parts = []
    for row in where:
        part = array.isel(dict.fromkeys(dims, np.where(row < 0, where[0], row)))
        if (where < 0).any():
            for dim in dims:
                part = part.where(xr.DataArray(row >= 0, dims=dim))
        parts.append(part)
    index = pd.RangeIndex(len(where), name=repeat)
    return xr.concat(parts, index, coords="minimal", compat="override", join="exact")


def _constant(column: xr.Variable, groups: _Groups) -> bool:
    """Whether a coordinate (stimulus, …) is the same in all rows of every group."""
    values = np.asarray(column.values)
    codes, _ = pd.factorize(values.reshape(-1) if values.dtype.kind in "biufmM"
                            else values.astype(object).reshape(-1))  # fmt: skip
    codes = codes.reshape(len(values), -1)[groups.order]
    firsts = np.cumsum(groups.counts) - groups.counts
    return bool((codes == codes[firsts][groups.numbers]).all())


def _spread(column: xr.Variable, where: Array, repeat: str) -> xr.Variable:
    """A coordinate (stimulus, …) as (repeat, stimulus, …): empty, or NaN, where there is none."""
    values = np.asarray(column.values)
    none = where < 0
    if values.dtype.kind in "biu" and none.any():
        values = values.astype(np.float64)
    if values.dtype.kind not in "biufmM":
        values = values.astype(object)
    values = values[np.where(none, 0, where)]
    if none.any():
        text = values.dtype == object and all(isinstance(v, str) for v in values.ravel())
        time = values.dtype.kind in "mM"
        values[none] = "" if text else np.array("NaT", values.dtype) if time else np.nan
    return xr.Variable((repeat, *column.dims), values, column.attrs)
