"""Neighbourhoods of features: given as lists or a matrix, or all features within a radius."""

from __future__ import annotations

import operator
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import scipy
import xarray as xr

from xconverge.engine.names import names_along
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.rounding import TIE
from xconverge.kernels.searchlight import Block
from xconverge.kernels.vectors import Array
from xconverge.labels.arguments import real
from xconverge.labels.checks import check_labels
from xconverge.labels.coordinates import read
from xconverge.labels.joins import join_labels
from xconverge.labels.kinds import came
from xconverge.labels.messages import SchemaError, listing, shown
from xconverge.labels.text import label_text

CENTER = "center"
QUERIES = 4096
"""Centres whose neighbours are searched at a time: they come as lists of Python."""
FEWEST = 16
"""Centres of a task, at least: fewer spend more on the task than on their RDMs."""


@dataclass(frozen=True)
class Neighborhoods:
    """Lists of features, one after the other, each sorted; and what their centres are called.

    ``members`` of neighbourhood c are from ``starts[c]`` up to ``starts[c + 1]``.
    """

    starts: Array
    members: Array
    coords: dict[Hashable, xr.DataArray]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.starts) - 1

    @property
    def names(self) -> Array:
        """Labels of the centres."""
        return np.asarray(self.coords[CENTER].values, dtype=object)

    def sizes(self, width: int) -> Array:
        """How many features (C) of a model of this width are in each neighbourhood."""
        before = np.concatenate([[0], np.cumsum(self.members < width)])
        return np.asarray(np.diff(before[self.starts]))

    def blocks(self, n_stimuli: int) -> Iterator[tuple[slice, Block]]:
        """Neighbourhoods in a row, so many that their RDMs are about one product block.

        How many depends on the number of stimuli alone, and so do all digits.
        """
        step = max(FEWEST, BUDGETS.product_block // (8 * max(n_stimuli, 1) ** 2))
        for start in range(0, self.count, step):
            part = slice(start, min(start + step, self.count))
            edges = self.starts[part.start : part.stop + 1]
            columns, members = np.unique(self.members[edges[0] : edges[-1]], return_inverse=True)
            yield part, Block(columns, edges - edges[0], members.reshape(-1))


def neighborhoods_of(
    reps: xr.DataArray,
    neighborhoods: Any,
    coordinates: Any,
    radius: Any,
    centers: Any,
) -> Neighborhoods:
    """The neighbourhoods that a call asks for, by one of two ways."""
    if (neighborhoods is None) == (coordinates is None):
        given = "neither" if coordinates is None else "both"
        raise TypeError(
            "give neighborhoods=, lists of features, or coordinates= and radius=, names of "
            f"coordinates on 'feature' and a distance; got {given}"
        )
    if coordinates is None and radius is not None:
        raise TypeError(
            f"radius={came(radius)} goes with coordinates=, and neighborhoods are given as lists"
        )
    if "feature" in reps.indexes:
        check_labels(reps, "feature", what="reps")
    around = None if centers is None else _centers(reps, centers)
    if coordinates is not None:
        points = _points(reps, coordinates)
        around = np.arange(len(points)) if around is None else around
        lists = _within(points, around, real("radius", radius, above=0))
        return _made(reps, lists, around, None)
    lists, names = _listed(reps, neighborhoods)
    if not lists:
        raise ValueError("neighborhoods is empty: give at least one list of features")
    if around is not None and len(around) != len(lists):
        raise ValueError(
            f"centers must name one feature for each neighbourhood: {len(around)} centers, "
            f"{len(lists)} neighborhoods"
        )
    return _made(reps, lists, around, names)


def _listed(reps: xr.DataArray, neighborhoods: Any) -> tuple[list[Array], Sequence[Any] | None]:
    """Lists of features, in whatever form they came, and what their centres are called."""
    width = reps.sizes["feature"]
    if isinstance(neighborhoods, xr.DataArray):
        return _of_array(reps, neighborhoods)
    if scipy.sparse.issparse(neighborhoods):
        return _of_matrix(neighborhoods, width), None
    if getattr(neighborhoods, "ndim", 0) == 2 and neighborhoods.dtype.kind == "b":
        return _of_matrix(scipy.sparse.csr_array(neighborhoods), width), None
    if isinstance(neighborhoods, Mapping):
        return _of_lists(reps, neighborhoods), list(neighborhoods)
    # a table or a text can be gone through as well, column by column and letter by letter
    if isinstance(neighborhoods, Iterable) and not isinstance(
        neighborhoods, str | bytes | xr.Dataset | xr.DataTree | pd.DataFrame | pd.Series
    ):
        return _of_lists(reps, dict(enumerate(neighborhoods))), None
    raise TypeError(
        "neighborhoods must be a list of lists of features, one for each centre, a dict of "
        "them, or a Boolean or sparse matrix (center, feature), got "
        f"neighborhoods={came(neighborhoods)}"
    )


def _made(
    reps: xr.DataArray, lists: Sequence[Array], around: Array | None, names: Sequence[Any] | None
) -> Neighborhoods:
    """Lists with the labels of their centres, and what else is known of these features."""
    coords: dict[Hashable, xr.DataArray] = {}
    if around is not None:
        where = xr.DataArray(around, dims=CENTER)
        for name, coord in reps.coords.items():
            if coord.dims == ("feature",) and name not in ("feature", CENTER):
                coords[name] = coord.reset_coords(drop=True).isel(feature=where)
        if "feature" in reps.indexes and names is None:
            names = list(reps.indexes["feature"][around])
        elif names is None:
            names = around.tolist()
    labels: Any = np.arange(len(lists)) if names is None else np.asarray(names)
    if names is not None and not all(isinstance(name, int | np.integer) for name in names):
        labels = label_text(names, "neighborhoods", " of its centres")
    index = pd.Index(labels)
    if not index.is_unique:
        raise SchemaError(
            f"centers are there twice: {listing(index[index.duplicated()].unique())}; each has one "
            "neighbourhood"
        )
    coords[CENTER] = xr.DataArray(labels, dims=CENTER)
    starts = np.concatenate([[0], np.cumsum([len(one) for one in lists])]).astype(np.int64)
    members = np.concatenate([*lists, np.empty(0, np.int64)]).astype(np.int64)
    return Neighborhoods(starts, members, coords)


def _position(reps: xr.DataArray, value: Any, what: str) -> int:
    """Where a feature is: its label where features have labels, else its position."""
    size = reps.sizes["feature"]
    if "feature" in reps.indexes:
        index = reps.indexes["feature"]
        try:
            return int(index.get_loc(value))
        except (KeyError, TypeError):
            raise SchemaError(
                f"{what} names the feature {shown(value)}, and reps has no such label on "
                f"'feature' (it has {listing(index, 3)}); where features have labels, lists hold "
                "labels. .drop_vars('feature') leaves positions"
            ) from None
    wanted = f"{what} must hold positions of features, whole numbers from 0 to {size - 1}"
    if isinstance(value, bool | np.bool_):
        # Python takes True for 1, and a mask would be the features 0 and 1
        raise TypeError(
            f"{wanted}, got {came(value)}; a mask of all features is one row of a matrix"
        )
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{wanted}, got {came(value)}") from None
    if not 0 <= number < size:
        raise ValueError(f"{wanted}, got {number}")
    return number


def _positions(reps: xr.DataArray, values: Any, what: str) -> Array:
    """Where several features are, in the order given; none may be there twice."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise TypeError(f"{what} must be a list of features, got {came(values)}")
    if "feature" not in reps.indexes and _are_whole(values):
        found = np.asarray(values, np.int64).reshape(-1)
        wrong = (found < 0) | (found >= reps.sizes["feature"])
        if wrong.any():
            _position(reps, int(found[wrong][0]), what)
    else:
        found = _looked_up(reps, list(values), what)
    ordered = np.sort(found)
    if (ordered[1:] == ordered[:-1]).any():
        one, count = np.unique(found, return_counts=True)
        twice = names_along(reps, "feature").values[one[count > 1]]
        raise ValueError(f"{what} has features twice: {listing(twice)}")
    return found


def _looked_up(reps: xr.DataArray, values: list[Any], what: str) -> Array:
    """Where features are, texts all at once: brains have a hundred thousand of them."""
    if "feature" in reps.indexes and set(map(type, values)) == {str}:
        found = reps.indexes["feature"].get_indexer(pd.Index(values, dtype=object))
        if (found >= 0).all():
            return np.asarray(found, np.int64)
    return np.array([_position(reps, value, what) for value in values], np.int64)


def _are_whole(values: Iterable[Any]) -> bool:
    """Whether these are whole numbers of one kind, which need no look at each."""
    if isinstance(values, np.ndarray):
        return values.dtype.kind in "iu"
    # others may be gone through only once
    kinds = set(map(type, values)) if isinstance(values, list | tuple | range) else {bool}
    return all(issubclass(kind, int | np.integer) and kind is not bool for kind in kinds)


def _centers(reps: xr.DataArray, centers: Any) -> Array:
    found = _positions(reps, centers, "centers")
    if not len(found):
        raise ValueError("centers is empty: give at least one feature, or None for all")
    return found


def _of_lists(reps: xr.DataArray, lists: Mapping[Any, Any]) -> list[Array]:
    return [
        np.sort(_positions(reps, one, f"neighborhoods[{name!r}]")) for name, one in lists.items()
    ]


def _of_matrix(matrix: Any, width: int) -> list[Array]:
    """The features of each row that are not 0."""
    if matrix.ndim != 2 or matrix.shape[1] != width:
        raise ValueError(
            f"neighborhoods must be a matrix (center, feature) with {width} columns, one for each "
            f"feature of reps, got the shape {tuple(matrix.shape)}"
        )
    # scipy keeps zeros that were written and entries that are there twice: each would be a feature
    rows = scipy.sparse.csr_array(matrix, copy=True)
    rows.sum_duplicates()
    rows.eliminate_zeros()
    rows.sort_indices()
    return np.split(rows.indices.astype(np.int64), rows.indptr[1:-1]) if rows.shape[0] else []


def _of_array(reps: xr.DataArray, given: xr.DataArray) -> tuple[list[Array], Sequence[Any] | None]:
    """A labelled mask: features are joined by label where both have labels."""
    if "feature" not in given.dims or given.ndim != 2:
        raise SchemaError(
            f"neighborhoods must be a mask with the dims ['center', 'feature'], got {came(given)}"
        )
    (dim,) = (str(d) for d in given.dims if d != "feature")
    if given.dtype != bool:
        raise SchemaError(
            f"neighborhoods must be a mask of True and False, got dtype {given.dtype}; compare it "
            "with a number, mask > 0"
        )
    labelled = ["feature" in one.indexes for one in (reps, given)]
    if labelled == [True, True]:
        cure = "give a column for each feature, or cut both to the same with .sel(feature=[…])"
        bare = reps["feature"].reset_coords(drop=True)
        names = ("reps", "neighborhoods")
        _, given, _ = join_labels(bare, given, "feature", "exact", names, cure)
        given = given.sel(feature=reps.indexes["feature"])
    elif labelled != [False, False]:
        lone = ("reps", "neighborhoods")[labelled.index(False)]
        raise SchemaError(
            f"{lone} has no labels on 'feature', the other has; give both, or neither "
            "(.drop_vars('feature'))"
        )
    if dim in given.indexes:
        check_labels(given, dim, what="neighborhoods")
    mask = read(given.transpose(dim, "feature"))
    lists = _of_matrix(scipy.sparse.csr_array(mask), reps.sizes["feature"])
    return lists, list(given.indexes[dim]) if dim in given.indexes else None


def _points(reps: xr.DataArray, coordinates: Any) -> Array:
    """Where features lie (F, d)."""
    names = [coordinates] if isinstance(coordinates, str) else coordinates
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise TypeError(
            "coordinates must be names of coordinates on 'feature', ('x', 'y', 'z') say, got "
            f"coordinates={came(coordinates)}"
        )
    there = [str(n) for n, c in reps.coords.items() if c.dims == ("feature",) and n != "feature"]
    lacking = [name for name in names if name not in there]
    if lacking or not names:
        raise SchemaError(
            f"coordinates={came(coordinates)}: {listing(lacking) or 'none'} must be a coordinate "
            f"on 'feature' alone; reps has {listing(there) or 'none'}. "
            ".assign_coords(x=('feature', values)) gives one; where positions differ from subject "
            "to subject, call for each of them"
        )
    columns = []
    for name in names:
        values = read(reps.coords[name])
        if values.dtype.kind not in "fiu":
            raise SchemaError(f"coordinates: {name!r} must hold numbers, got dtype {values.dtype}")
        columns.append(values.astype(np.float64))
    points = np.stack(columns, axis=1)
    nowhere = ~np.isfinite(points).all(1)
    if nowhere.any():
        who = names_along(reps, "feature").values
        raise SchemaError(
            f"coordinates: {nowhere.sum()} features lie nowhere (NaN or infinity): "
            f"{listing(who[nowhere])}; leave them out with .isel(feature=…)"
        )
    return points


def _within(points: Array, around: Array, radius: float) -> list[Array]:
    """Features at most ``radius`` away from each centre, but for rounding, itself among them."""
    tree = scipy.spatial.cKDTree(points)
    search = partial(tree.query_ball_point, r=radius * (1 + TIE), return_sorted=True)
    return [
        np.array(found, np.int64)
        for start in range(0, len(around), QUERIES)
        for found in search(points[around[start : start + QUERIES]])
    ]


def counted(hoods: Neighborhoods, width: xr.DataArray) -> xr.DataArray:
    """How many features are in each neighbourhood (center), of each model where widths differ."""
    values = np.asarray(width.values)
    distinct, which = np.unique(values, return_inverse=True)
    sizes = np.stack([hoods.sizes(int(one)) for one in distinct])
    if len(distinct) == 1:
        return xr.DataArray(sizes[0], dims=CENTER)
    return xr.DataArray(
        sizes[which.reshape(-1)].reshape(*values.shape, hoods.count),
        dims=(*width.dims, CENTER),
        coords=width.coords,
    )
