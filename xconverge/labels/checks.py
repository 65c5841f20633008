"""What the data model asks of an input, checked at the door.

A check looks at names, dims and the labels of dims, and computes nothing: other coordinates may be
lazy, and stay so. `widths` and the groups of models are no checks; they read the one coordinate
that they are made of.
"""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.labels.arguments import text
from xconverge.labels.coordinates import read
from xconverge.labels.kinds import called, came, check_own_memory, cure, no_array
from xconverge.labels.messages import SchemaError, UnalignedSpaceWarning, apart, bare, listing
from xconverge.labels.numbers import cure_of, numpy_dtype
from xconverge.labels.plain import of_series, plain


def check_lookalikes(labels: Iterable[str], what: str) -> None:
    """No two labels differ only in what nobody sees."""
    labels = list(labels)
    text = "\n".join(labels)
    if list(map(str.strip, labels)) == labels and unicodedata.is_normalized("NFC", text):
        return
    first: dict[str, str] = {}
    pairs = [(first.setdefault(bare(label), label), label) for label in labels]
    same = [apart(*pair) for pair in pairs if pair[0] != pair[1]]
    if same:
        raise SchemaError(
            f"{what} that differ only in their Unicode form or in spaces around them: "
            f"{'; '.join(same[:5])}{f'; … ({len(same)} in all)' if len(same) > 5 else ''}. "
            "Are they one? Then give them one name, else names that one can tell apart"
        )


def check_dims(array: object, *dims: str, what: str = "reps") -> xr.DataArray:
    """A DataArray of numbers with these dims, whatever else it has; labels and coordinates plain.

    A Series of pandas is one whose index holds the labels of its only dim.
    """
    return plain(_with_dims(array, *dims, what=what), what)


def _with_dims(array: object, *dims: str, what: str) -> xr.DataArray:
    """A DataArray of numbers with these dims."""
    checked = check_kind(array, *dims, what=what)
    dtype = checked.dtype
    if dtype.kind not in "fiub" or numpy_dtype(dtype) != dtype:
        cure = cure_of(dtype) or NUMBERS.get(dtype.kind, "use .astype(float) if they are numbers")
        raise SchemaError(f"{what} must hold real numbers, got dtype {dtype}; {cure}")
    return checked


NUMBERS = {
    "c": "take their real or imaginary part, or their magnitude, abs(array)",
    "M": "give the dates as numbers of a unit",
    "m": "give the durations as numbers of a unit",
}
"""What to do about values that are no real numbers."""


def check_kind(array: object, *dims: str, what: str) -> xr.DataArray:
    """A DataArray with these dims, whatever else it has and whatever it holds."""
    if isinstance(array, pd.Series) and len(dims) == 1:
        array = of_series(array, dims[0], what)
    if not isinstance(array, xr.DataArray):
        raise no_array(array, dims, what)
    missing = [dim for dim in dims if dim not in array.dims]
    if missing:
        rename = (
            f"xconverge.from_xarray(array, {missing[0]}='…') brings in an array whose dims have "
            "other names"
            if missing[0] in ("model", "stimulus", "feature")
            else f".rename(…={missing[0]!r}) names a dim"
        )
        given = called(array.dims)
        raise SchemaError(
            f"{what} needs the dims {list(dims)} and has {list(map(str, array.dims))}: "
            f"{missing} missing{f', it is {given}' if given else ''}; "
            f"{cure(dims, array.dims) or rename}"
        )
    check_own_memory(array, what)
    return array


def check_labels(array: xr.DataArray, *dims: str, what: str = "reps") -> None:
    """Every one of these dims has labels, at least one, none of them twice or missing."""
    for dim in dims:
        if dim not in array.indexes:
            raise SchemaError(
                f"{what} has no labels on {dim!r}; give them with "
                f".assign_coords({dim}=[…]), results are joined on labels, never on position"
            )
        index = array.indexes[dim]
        if isinstance(index.dtype, np.dtype) and not index.dtype.isnative:
            index = index.astype(index.dtype.newbyteorder("="))  # pandas looks into no other
        if isinstance(index, pd.MultiIndex):
            raise SchemaError(f"{what} has a MultiIndex on {dim!r}; use .reset_index({dim!r})")
        if not len(index):
            raise SchemaError(f"{what} is empty: {dim!r} has no labels")
        if index.hasnans:
            raise SchemaError(f"{what} has missing labels on {dim!r}; every {dim} needs a name")
        if not index.is_unique:
            twice = index[index.duplicated()].unique()
            raise SchemaError(
                f"{what} has duplicate labels on {dim!r}: {listing(twice)}; "
                f"keep one of each with .drop_duplicates({dim!r}), or average them with "
                f".groupby({dim!r}).mean()"
            )


def check_per_model(array: object, what: str) -> xr.DataArray:
    """Values of each stimulus, for all models or for each."""
    checked = check_dims(array, "stimulus", what=what)
    if "model" in checked.dims:
        return check_only(checked, "model", "stimulus", what=what)
    return check_only(checked, "stimulus", what=what)


def check_table(given: object, *names: str, what: str, made: str) -> xr.Dataset:
    """A Dataset, or a group of a saved study, with these variables, as ``made`` returns it."""
    table = given.to_dataset() if isinstance(given, xr.DataTree) else given
    lacking = [name for name in names if name not in getattr(table, "data_vars", ())]
    if not isinstance(table, xr.Dataset) or lacking:
        kind = SchemaError if isinstance(table, xr.Dataset) else TypeError
        raise kind(
            f"{what} must be what xconverge.{made} returns"
            f"{f', with {listing(names)}' if names else ''}; got {came(given)}"
        )
    return table


def check_scores(array: object, *dims: str, what: str) -> xr.DataArray:
    """Scores with labels on these dims, and not what scores are made of."""
    checked = check_dims(array, *dims, what=what)
    if {"feature", "component", "neighbor", "stimulus_2"} & set(checked.dims):
        raise SchemaError(
            f"{what} must be scores, as xconverge.alignment(a, b) makes them; got "
            f"{called(checked.dims)} with the dims {list(map(str, checked.dims))}"
        )
    check_labels(checked, *dims, what=what)
    return checked


def check_only(array: object, *dims: str, what: str) -> xr.DataArray:
    """A DataArray with labels on these dims, and no other dim."""
    checked = check_dims(array, *dims, what=what)
    check_labels(checked, *dims, what=what)
    if checked.ndim > len(dims):
        raise SchemaError(
            f"{what} must have the dim{'s' * (len(dims) > 1)} {' and '.join(map(repr, dims))} "
            f"alone, got {list(map(str, checked.dims))}; "
            f"{cure(dims, checked.dims) or 'average or select the others first'}"
        )
    return checked


def check_representations(reps: object, what: str = "reps") -> xr.DataArray:
    """Dims and labels of a representation set; its values are not read.

    The coordinates of a shared space (``component``) and a neighbour graph (``neighbor``) get the
    dim ``feature``, so that nothing behind this door knows another name.
    """
    array = check_dims(as_features(reps), "model", "stimulus", "feature", what=what)
    check_labels(array, "model", "stimulus", what=what)
    _check_some_features(array, what)
    return array


def _check_some_features(array: xr.DataArray, what: str) -> None:
    if not array.sizes["feature"]:
        raise SchemaError(f"{what} is empty: 'feature' has size 0")


def as_features(reps: Any) -> Any:
    """What lies along ``component`` or ``neighbor``, along ``feature``; spaces are marked."""
    dims = getattr(reps, "dims", ())
    if "feature" in dims:
        return reps
    if "component" in dims:
        # a space has one width: the padding of raw features means nothing in it
        bare = reps.rename(component="feature").drop_vars("n_features", errors="ignore")
        return bare.assign_attrs(space=reps.attrs.get("space", "shared"))
    # whatever it is called now: positions are no features
    return reps.rename(neighbor="feature").rename(GRAPH) if "neighbor" in dims else reps


GRAPH = "neighbor_graph"


def is_graph(reps: xr.DataArray) -> bool:
    """Whether this is a neighbour graph, in place of a representation set."""
    return reps.name == GRAPH or ("neighbor" in reps.dims and "feature" not in reps.dims)


def check_features(reps: xr.DataArray, what: str = "reps") -> None:
    """Vectors, and not a neighbour graph."""
    if is_graph(reps):
        raise SchemaError(
            f"{what} is a neighbour graph, which only measures of neighbour lists take "
            "(mutual_knn, cycle_knn, lcs_knn, edit_distance_knn, neighborhood); give the "
            "representations themselves"
        )


def widths(reps: xr.DataArray, what: str = "reps") -> xr.DataArray:
    """How many leading features are real: ``n_features``, or all of them where it is absent.

    The one coordinate that is read where it is lazy: tasks cannot be put together without it.
    """
    check_features(reps, what)
    full = reps.sizes["feature"]
    if "n_features" not in reps.coords:
        return xr.DataArray(np.int64(full))
    coord = reps.coords["n_features"]
    values = read(coord)
    wrong = ~((values >= 1) & (values <= full) & (values == np.floor(values)))
    if wrong.any():
        who = (
            listing(coord[coord.dims[0]].values[wrong.reshape(len(wrong), -1).any(1)])
            if coord.dims and coord.dims[0] in reps.indexes
            else "this model"
        )
        raise SchemaError(
            f"{what}: n_features must be whole and between 1 and {full} ('feature' has {full}); "
            f"it is {np.unique(values[wrong]).tolist()} for {who}"
        )
    return xr.DataArray(
        values.astype(np.int64), dims=coord.dims, coords={d: reps[d] for d in coord.dims}
    )


ROUNDING = "rounding"
"""Attribute of values that were computed: how far rounding left the rows of stimuli off.

As a share of their norm, where that is more than their type says.
"""


def rounding_of(reps: xr.DataArray) -> float:
    """What ``ROUNDING`` says, 0 where it is silent: then the type of the values says it all."""
    return float(reps.attrs.get(ROUNDING, 0.0))


def check_shared(reps: xr.DataArray, call: str) -> None:
    """Models can be compared feature by feature: equally wide, and marked as a shared space."""
    real = widths(reps)
    if len(np.unique(real)) > 1:
        who = reps.indexes["model"]
        raise SchemaError(
            f"{call} compares features by position, but the models differ in width: n_features "
            f"is {listing(real.values.ravel())} for {listing(who)}; bring them into one space "
            "with xconverge.shared_space, or use a basis-free metric"
        )
    if reps.attrs.get("space") != "shared":
        warnings.warn(
            f"{call} compares features by position, and nothing says that the models share their "
            "axes: networks that agree then look unrelated. Use "
            "xconverge.shared_space(reps)['aligned'], or a basis-free metric; if the axes are "
            "shared, set reps.attrs['space'] = 'shared'",
            UnalignedSpaceWarning,
            stacklevel=3,
        )


def check_whole(values: Any, labels: pd.Index, what: str) -> None:
    """Every stimulus has a group: those that have none are not one."""
    missing = np.asarray(pd.isna(values))
    if missing.any():
        raise SchemaError(
            f"{what} has no value for {listing(labels[missing])}; every stimulus needs a group: "
            "fill it in, or leave these out"
        )


def group_numbers(
    reps: xr.DataArray, by: str, what: str = "by"
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Number (model) of the group of each model, and the values of the model coordinate ``by``.

    Groups are numbered in order of appearance.
    """
    text(what, by, "the name of a coordinate on 'model'")
    if by not in reps.coords or reps.coords[by].dims != ("model",):
        there = [str(n) for n, c in reps.coords.items() if c.dims == ("model",) and n != "model"]
        raise SchemaError(
            f"{what}={by!r} must be a coordinate on 'model' that groups the models; there is "
            f"{listing(there) or 'none'}"
        )
    numbers, values = pd.factorize(np.asarray(read(reps.coords[by]), dtype=object))
    if (numbers < 0).any():
        raise SchemaError(
            f"{what}={by!r} is missing for {listing(reps.indexes['model'][numbers < 0])}; every "
            "model needs a group"
        )
    return numbers, values


def model_groups(reps: xr.DataArray, by: str, what: str = "by") -> dict[Any, np.ndarray[Any, Any]]:
    """Positions of the models of each group."""
    numbers, values = group_numbers(reps, by, what)
    return {value: np.flatnonzero(numbers == i) for i, value in enumerate(values)}


def validate(reps: xr.DataArray) -> xr.DataArray:
    """Check a representation set against the data model, and return it unchanged.

    Parameters
    ----------
    reps : DataArray
        (model, stimulus, feature), extra dims allowed.

    Returns
    -------
    DataArray
        ``reps`` itself.

    Raises
    ------
    SchemaError
        One error that names every fault: dims or labels missing, empty, not text or not unique;
        widths out of range; rows with NaN or infinity among their real features (a row that is
        NaN throughout is a stimulus the model never saw); padding that is not NaN.

    Notes
    -----
    Reads the values, block by block, because a fault in them is what it looks for. This is the
    one check that does: every measure checks the rows that it reads.

    Examples
    --------
    >>> import numpy as np
    >>> from xconverge import stack_models
    >>> reps = stack_models({"a": np.ones((2, 3))}, stimuli=["cat", "dog"])
    >>> validate(reps) is reps
    True
    """
    array = _with_dims(reps, "model", "stimulus", "feature", what="reps")
    names = _faults(lambda: check_labels(array, "model"), lambda: check_labels(array, "stimulus"))
    # what is wrong with labels is said once
    whole = (
        (lambda: _check_some_features(array, "reps"))
        if names
        else (lambda: check_representations(array))
    )
    faults = [*names, *_faults(whole, lambda: widths(array))]
    values = [] if faults else _faulty_values(check_representations(array))
    text = _faults(lambda: check_text(array, "model"), lambda: check_text(array, "stimulus"))
    faults = [*faults, *text, *values]
    if faults:
        raise SchemaError("\n".join(faults))
    return reps


def _faults(*checks: Callable[[], object]) -> list[str]:
    """What these checks complain about, each complaint once."""
    found: dict[str, None] = {}
    for check in checks:
        try:
            check()
        except SchemaError as error:
            found[str(error)] = None
    return list(found)


def are_text(values: Iterable[object]) -> bool:
    """Whether all values are text; there are many of them, and few types."""
    return all(issubclass(kind, str) for kind in set(map(type, values)))


def check_text(array: xr.DataArray, dim: str, what: str = "reps") -> None:
    """The labels of a dim are text, not empty, and all look different."""
    if dim not in array.indexes:
        return
    labels = array.indexes[dim].tolist()
    if not are_text(labels):
        other = [label for label in labels if not isinstance(label, str)]
        raise SchemaError(
            f"{what} needs text labels on {dim!r}, got {type(other[0]).__name__} for "
            f"{listing(other)}; use .assign_coords({dim}={dim}_labels.astype(str))"
        )
    if not all(labels):
        raise SchemaError(f"{what} has an empty label on {dim!r}; every {dim} needs a name")
    check_lookalikes(labels, f"{what} has labels on {dim!r}")


def _faulty_values(array: xr.DataArray) -> list[str]:
    real = xr.DataArray(np.arange(array.sizes["feature"]), dims="feature") < widths(array)
    missing = array.isnull()
    counts = xr.Dataset(
        {
            "nan": (missing & real).sum(dim="feature"),
            "inf": ((abs(array) == np.inf) & real).sum(dim="feature"),
            "padding": (~missing & ~real).sum(dim="feature"),
            "width": xr.DataArray(widths(array)),
        }
    ).compute()
    extra = [dim for dim in counts["nan"].dims if dim not in ("model", "stimulus")]
    kinds = {
        "NaN inside a row": (counts["nan"] > 0) & (counts["nan"] < counts["width"]),
        "infinity": counts["inf"] > 0,
        "values in the padding, beyond n_features": counts["padding"] > 0,
    }
    faults = []
    for kind, mask in kinds.items():
        # all of them at once: to ask each of a thousand models takes seconds
        where = mask.any(extra).transpose("model", "stimulus").values
        for i in np.flatnonzero(where.any(axis=1)):
            name, who = array.indexes["model"][i], listing(array.indexes["stimulus"][where[i]])
            faults.append(f"reps has {kind}: model {name!r}, stimulus {who}")
    return faults
