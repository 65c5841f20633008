"""The data model: its table of variables, its checks, label joins, and the words of errors."""

from __future__ import annotations

import re
import sys
import unicodedata
import warnings
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import dask.base
import numpy as np
import pandas as pd
import xarray as xr

Join = Literal["exact", "inner"]
NEIGHBOR_DIM = "neighbor"
Dims = tuple[str, str, str]
"""Names of the dims model, stimulus and feature."""


class SchemaError(ValueError):
    """Data that does not fit the data model; the message says what, where, and what to do."""


class DamagedStoreError(SchemaError):
    """A file of a store is not what was written; the message names the model and the stimuli."""


class UnalignedSpaceWarning(UserWarning):
    """Coordinates of models whose axes are unrelated are being compared."""


@dataclass(frozen=True)
class Variable:
    """One row of the table of variables.

    Parameters
    ----------
    dims : str
        Its dims, as words.
    kind : str
        ``distance``, ``similarity``, ``probability``, ``count``, ``label`` or ``value``.
    units : str
        Its unit; ``1`` for a pure number.
    text : str
        What it is, in one sentence.
    """

    dims: str
    kind: str
    units: str
    text: str


VARIABLES: dict[str, Variable] = {
    "representation": Variable(
        "model stimulus feature", "value", "as given", "vectors of every model for every stimulus"
    ),
    "n_features": Variable("model", "count", "features", "leading features that are real"),
    "n_models": Variable("stimulus", "count", "models", "models that saw the stimulus"),
    "n_repeats": Variable("stimulus", "count", "rows", "rows that were averaged"),
    "dispersion": Variable(
        "stimulus", "distance", "1", "how differently the models represent the stimulus"
    ),
    "bin": Variable("stimulus", "label", "1", "quantile bin of dispersion, 0 = lowest"),
    "local_density": Variable(
        "model stimulus", "similarity", "1", "mean cosine to the nearest neighbours"
    ),
    "neighbor_graph": Variable(
        "model stimulus neighbor", "", "1", "positions of the nearest neighbours"
    ),
    "recall": Variable("model", "similarity", "1", "exact neighbours that an index found"),
    "stimulus_norm": Variable(
        "model stimulus", "value", "as given", "Euclidean norm of the stimulus's vector"
    ),
    "neighbors": Variable(
        "model stimulus neighbor", "label", "position", "nearest neighbours, nearest first"
    ),
    "alignment": Variable(
        "model_a model_b stimulus", "similarity", "1", "agreement of two models on the stimulus"
    ),
    "rdm": Variable(
        "model stimulus stimulus_2", "distance", "1", "representational dissimilarity matrix"
    ),
    "rsa": Variable("model_a model_b", "similarity", "1", "similarity of two RDMs"),
    "aligned": Variable(
        "model stimulus component", "value", "Frobenius norm of a model", "shared-space coordinates"
    ),
    "consensus": Variable(
        "stimulus component", "value", "Frobenius norm of a model", "mean of the aligned models"
    ),
    "residual": Variable(
        "model stimulus", "distance", "Frobenius norm of a model", "distance from the consensus"
    ),
    "rotation": Variable(
        "model feature component", "value", "1", "orthonormal map from centred features"
    ),
    "shift": Variable(
        "model component", "value", "Frobenius norm of a model", "added after rotation"
    ),
    "scale": Variable("model", "value", "as given", "what the centred features were divided by"),
    "center": Variable("model feature", "value", "as given", "mean over the stimuli seen"),
    "objective": Variable(
        "iteration", "distance", "1", "sum of squared residuals after each iteration"
    ),
    "unexplained_heldout": Variable(
        "", "distance", "1", "residual over the sum of squares of stimuli that were not fitted"
    ),
    "unexplained": Variable("", "distance", "1", "objective over the models' sum of squares"),
    "lower": Variable("", "similarity", "1", "lower bound of the noise ceiling"),
    "upper": Variable("", "similarity", "1", "upper bound of the noise ceiling"),
    "correlation": Variable(
        "model_a model_b", "similarity", "1", "rank correlation of dispersion with alignment"
    ),
    "mean_correlation": Variable("", "similarity", "1", "mean over pairs of the correlation"),
    "mean_p_value": Variable("", "probability", "1", "permutation p-value of the mean"),
    "p_value": Variable("model_a model_b", "probability", "1", "permutation p-value"),
    "score": Variable("subset pool", "similarity", "1", "mean alignment of the subset"),
    "random_mean": Variable(
        "control subset pool", "similarity", "1", "mean alignment of random subsets"
    ),
    "random_lower": Variable(
        "control subset pool", "similarity", "1", "lower quantile over random subsets"
    ),
    "random_upper": Variable(
        "control subset pool", "similarity", "1", "upper quantile over random subsets"
    ),
    "p_value_greater": Variable(
        "control subset pool", "probability", "1", "random subsets that align as well or better"
    ),
    "p_value_less": Variable(
        "control subset pool", "probability", "1", "random subsets that align as badly or worse"
    ),
    "half_correlation": Variable("", "similarity", "1", "rank correlation of two halves"),
    "reliability": Variable("", "similarity", "1", "Spearman-Brown reliability of the whole"),
    "trend": Variable("model_a model_b", "value", "per bin", "slope of RSA over dispersion bins"),
    "trend_p_value": Variable("model_a model_b", "probability", "1", "p-value of the trend"),
    "low_minus_high": Variable("", "value", "1", "lowest less highest dispersion"),
    "low_minus_high_p_value": Variable("", "probability", "1", "p-value of low less high"),
    "k": Variable("pool_size neighbors", "count", "neighbours", "neighbours of each stimulus"),
    "standard_deviation": Variable("pool_size neighbors", "value", "1", "deviation over pools"),
    "estimate": Variable("model_a model_b", "similarity", "1", "score of all stimuli and models"),
    "standard_error": Variable("model_a model_b", "value", "1", "standard error of the estimate"),
    "chance": Variable("model_a model_b", "similarity", "1", "mean score under permutation"),
    "corrected": Variable(
        "model_a model_b", "similarity", "1", "(score - chance) / (best - chance): 0 at chance"
    ),
    "threshold": Variable(
        "model_a model_b", "similarity", "1", "score that permutations exceed at rate alpha"
    ),
    "calibrated": Variable(
        "model_a model_b", "similarity", "1", "(score - threshold) / (best - threshold)"
    ),
    "p_value_bh": Variable(
        "model_a model_b", "probability", "1", "false discovery rate, Benjamini & Hochberg (1995)"
    ),
    "p_value_by": Variable(
        "model_a model_b", "probability", "1", "false discovery rate, Benjamini & Yekutieli (2001)"
    ),
    "p_value_max_t": Variable(
        "model_a model_b", "probability", "1", "family-wise error, max-T, Westfall & Young (1993)"
    ),
    "n_stimuli": Variable("bin", "count", "stimuli", "stimuli that entered"),
    "alignment_by_bin": Variable(
        "model_a model_b bin", "similarity", "1", "mean alignment inside a dispersion bin"
    ),
    "dispersion_by_bin": Variable("bin", "distance", "1", "mean dispersion inside a bin"),
    "rank": Variable("", "label", "1", "place among all that were compared, 1 the first"),
    "among_best": Variable("model subset", "label", "1", "no model is significantly better"),
    "best": Variable("subset", "label", "1", "the model of the highest score"),
    "best_rsa_heldout": Variable(
        "subset", "similarity", "1", "score, on one half of the stimuli, of the best on the other"
    ),
    "ceiling_lower": Variable(
        "model subset", "similarity", "1", "lower noise ceiling of the model's stimuli"
    ),
    "ceiling_upper": Variable(
        "model subset", "similarity", "1", "upper noise ceiling of the model's stimuli"
    ),
    "difference": Variable("model model_2 subset", "value", "1", "score of model less model_2"),
    "difference_p_value": Variable(
        "model model_2 subset", "probability", "1", "two-sided p-value of the difference"
    ),
    "difference_p_value_max_t": Variable(
        "model model_2 subset", "probability", "1", "the same, corrected for all pairs of models"
    ),
    "layer_share": Variable("layer", "value", "1", "how often the layer was its network's choice"),
    "agreement_by_subset": Variable(
        "model subset", "similarity", "1", "mean agreement with the other modality"
    ),
    "gain": Variable("subset", "value", "1", "correlation less that over all stimuli"),
    "gain_lower": Variable("subset", "value", "1", "lower end of the gain, over models"),
    "gain_upper": Variable("subset", "value", "1", "upper end of the gain, over models"),
    "gain_p_value": Variable(
        "subset", "probability", "1", "p-value of the gain against random subsets"
    ),
    "random_correlation": Variable(
        "subset", "similarity", "1", "mean correlation of random subsets of the same size"
    ),
    "residual_component": Variable(
        "stimulus", "value", "as given", "first principal component of the models' residuals"
    ),
    "value": Variable("stimulus", "value", "as given", "what the stimuli were chosen by"),
    "mean_rank": Variable("stimulus", "value", "stimuli", "mean rank over the criteria"),
    "reason": Variable("stimulus", "label", "1", "why the stimulus was chosen"),
    "chosen_by": Variable(
        "criterion stimulus", "label", "1", "whether the criterion alone chooses the stimulus too"
    ),
    "overlap": Variable(
        "criterion criterion_2", "similarity", "1", "share of stimuli that both criteria choose"
    ),
    "stability": Variable(
        "stimulus", "similarity", "1", "share of sets, models left out, that hold the stimulus"
    ),
    "overlap_without": Variable(
        "model", "similarity", "1", "share of the set that stays without the models"
    ),
    "contribution": Variable(
        "stimulus", "value", "1", "agreement of the set less that of the set without the stimulus"
    ),
    "agreement": Variable(
        "", "similarity", "1", "mean correlation of two models' RDMs inside the set"
    ),
    "agreement_of_start": Variable("", "similarity", "1", "agreement of the set it started from"),
    "agreement_of_random": Variable("", "similarity", "1", "mean agreement of random sets"),
    "agreement_heldout": Variable(
        "model", "similarity", "1", "of left-out models with the others, in the set of the others"
    ),
    "agreement_heldout_of_random": Variable(
        "model", "similarity", "1", "of left-out models with the others, mean over random sets"
    ),
    "n_swaps": Variable("", "count", "swaps", "swaps that all searches took"),
}


def describe(array: xr.DataArray, name: str, **parameters: Any) -> xr.DataArray:
    """Name a result and write down what it is: meaning, kind, units, parameters, version."""
    from xconverge import __version__

    row = VARIABLES[name]
    array = array.rename(name)
    array.attrs = {
        "long_name": row.text,
        "kind": row.kind,
        "units": row.units,
        **{key: value for key, value in parameters.items() if value is not None},
        "xconverge_version": __version__,
    }
    return array


def listing(labels: Iterable[object], limit: int = 5) -> str:
    """A few labels and how many there are: ``'a', 'b', … (12 in all)``."""
    labels = list(labels)
    few = ", ".join(shown(label) for label in labels[:limit])
    return few if len(labels) <= limit else f"{few}, … ({len(labels)} in all)"


LONGEST = 80
"""Characters of a label that an error shows whole."""


def shown(label: object) -> str:
    """A label in quotes; of a long one the beginning, the end and its length."""
    text = str(label)
    if len(text) <= LONGEST:
        return repr(text)
    return f"{text[: LONGEST // 2]!r}…{text[-LONGEST // 4 :]!r} ({len(text):,} characters)"


def bare(label: str) -> str:
    """The label without what nobody sees: its Unicode form, and spaces around it."""
    return label.strip() if label.isascii() else unicodedata.normalize("NFC", label).strip()


def apart(one: str, other: str) -> str:
    """Two labels so that one sees how they differ."""
    hidden = unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)
    return " and ".join(shown(ascii(name)[1:-1] if hidden else name) for name in (one, other))


def check_twins(labels: Iterable[str], what: str) -> None:
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


def choose(name: str, value: object, choices: Iterable[str]) -> None:
    """Refuse an argument that is not one of its choices."""
    choices = list(choices)
    if value not in choices:
        raise ValueError(f"{name}={value!r} is not known; choose one of {', '.join(choices)}")


def check_dims(array: object, *dims: str, what: str = "reps") -> xr.DataArray:
    """A DataArray with these dims, whatever else it has; its coordinates are read."""
    if not isinstance(array, xr.DataArray):
        raise TypeError(
            f"{what} must be an xarray.DataArray, got {type(array).__name__}; "
            "xconverge.stack_models makes one from a dict of arrays"
        )
    missing = [dim for dim in dims if dim not in array.dims]
    if missing:
        raise SchemaError(
            f"{what} needs the dims {list(dims)} and has {list(map(str, array.dims))}: "
            f"{missing} missing; rename the dim, or name yours by keyword ({missing[0]}='…')"
        )
    if array.dtype.kind not in "fiub":
        raise SchemaError(f"{what} must hold real numbers, got dtype {array.dtype}")
    return read_coordinates(array)


def check_labels(array: xr.DataArray, *dims: str, what: str = "reps") -> None:
    """Every one of these dims has labels, at least one, none of them twice or missing."""
    for dim in dims:
        if dim not in array.indexes:
            raise SchemaError(
                f"{what} has no labels on {dim!r}; give them with "
                f".assign_coords({dim}=[…]), results are joined on labels, never on position"
            )
        index = array.indexes[dim]
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


def check_only(array: object, *dims: str, what: str) -> xr.DataArray:
    """A DataArray with labels on these dims, and no other dim."""
    checked = check_dims(array, *dims, what=what)
    check_labels(checked, *dims, what=what)
    if checked.ndim > len(dims):
        raise SchemaError(
            f"{what} must have the dim{'s' * (len(dims) > 1)} {' and '.join(map(repr, dims))} "
            f"alone, got {list(map(str, checked.dims))}; average or select the others first"
        )
    return checked


def check_representations(
    reps: object, model: str, stimulus: str, feature: str, what: str = "reps"
) -> xr.DataArray:
    """Dims and labels of a representation set; its values are not read."""
    array = check_dims(reps, model, stimulus, feature, what=what)
    check_labels(array, model, stimulus, what=what)
    if not array.sizes[feature]:
        raise SchemaError(f"{what} is empty: {feature!r} has size 0")
    return array


def feature_dim(reps: object, feature: str) -> str:
    """The dim of the coordinates: ``component`` of a shared space, ``neighbor`` of a graph."""
    dims = getattr(reps, "dims", ())
    if feature == "feature" and "feature" not in dims:
        return next((dim for dim in ("component", NEIGHBOR_DIM) if dim in dims), feature)
    return feature


def is_graph(reps: xr.DataArray) -> bool:
    """Whether this is a neighbour graph, in place of a representation set."""
    return reps.name == "neighbor_graph"


def check_features(reps: xr.DataArray, what: str = "reps") -> None:
    """Vectors, and not a neighbour graph."""
    if is_graph(reps):
        raise SchemaError(
            f"{what} is a neighbour graph, which only measures of neighbour lists take "
            "(mutual_knn, cycle_knn, lcs_knn, edit_distance_knn, neighborhood); give the "
            "representations themselves"
        )


def read_coordinates(array: xr.DataArray) -> xr.DataArray:
    """The array with its coordinates in memory: labels and widths are metadata.

    They are read in the calling thread, unless they live on a cluster; the data is not.
    """
    lazy = {name: coord.variable for name, coord in array.coords.items() if coord.chunks}
    if not lazy:
        return array
    cluster = "distributed" in sys.modules and sys.modules["distributed"].client._global_clients
    (read,) = dask.base.compute(lazy, scheduler=None if cluster else "synchronous")
    return array.assign_coords(read)


def widths(reps: xr.DataArray, feature: str = "feature", what: str = "reps") -> xr.DataArray:
    """How many leading features are real: ``n_features``, or all of them where it is absent."""
    check_features(reps, what)
    full = reps.sizes[feature]
    if "n_features" not in reps.coords or feature == "component":
        return xr.DataArray(np.int64(full))
    coord = reps.coords["n_features"]
    values = np.asarray(coord.values)
    wrong = ~((values >= 1) & (values <= full) & (values == np.floor(values)))
    if wrong.any():
        who = (
            listing(coord[coord.dims[0]].values[wrong.reshape(len(wrong), -1).any(1)])
            if coord.dims and coord.dims[0] in reps.indexes
            else "this model"
        )
        raise SchemaError(
            f"{what}: n_features must be whole and between 1 and {full} ({feature!r} has {full}); "
            f"it is {np.unique(values[wrong]).tolist()} for {who}"
        )
    return xr.DataArray(
        values.astype(np.int64), dims=coord.dims, coords={d: reps[d] for d in coord.dims}
    )


def check_shared(reps: xr.DataArray, call: str, model: str, feature: str) -> None:
    """Models can be compared feature by feature: equally wide, and marked as a shared space."""
    real = widths(reps, feature)
    if len(np.unique(real)) > 1:
        who = reps.indexes[model]
        raise SchemaError(
            f"{call} compares features by position, but the models differ in width: n_features "
            f"is {listing(real.values.ravel())} for {listing(who)}; bring them into one space "
            "with xconverge.shared_space, or use a basis-free metric"
        )
    if reps.attrs.get("space", "shared" if feature == "component" else "") != "shared":
        warnings.warn(
            f"{call} compares features by position, and nothing says that the models share their "
            "axes: networks that agree then look unrelated. Use "
            "xconverge.shared_space(reps)['aligned'], or a basis-free metric; if the axes are "
            "shared, set reps.attrs['space'] = 'shared'",
            UnalignedSpaceWarning,
            stacklevel=3,
        )


def group_numbers(
    reps: xr.DataArray, by: str, model: str
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Number (model) of the group of each model, and the values of the model coordinate ``by``.

    Groups are numbered in order of appearance.
    """
    if by not in reps.coords or reps.coords[by].dims != (model,):
        there = [str(n) for n, c in reps.coords.items() if c.dims == (model,) and n != model]
        raise SchemaError(
            f"{by!r} must be a coordinate on {model!r} that groups the models; there is "
            f"{listing(there) or 'none'}"
        )
    numbers, values = pd.factorize(np.asarray(reps.coords[by].values, dtype=object))
    if (numbers < 0).any():
        raise SchemaError(
            f"{by!r} is missing for {listing(reps.indexes[model][numbers < 0])}; every model "
            "needs a group"
        )
    return numbers, values


def model_groups(reps: xr.DataArray, by: str, model: str) -> dict[Any, np.ndarray[Any, Any]]:
    """Positions of the models of each group."""
    numbers, values = group_numbers(reps, by, model)
    return {value: np.flatnonzero(numbers == i) for i, value in enumerate(values)}


def natural_rank(labels: Sequence[Hashable] | pd.Index) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Rank of every label in natural order (``s2`` before ``s10``): it does not know positions.

    Examples
    --------
    >>> natural_rank(["s10", "s2", "s1"])
    array([2, 1, 0])
    """
    parts = [re.split(r"(\d+)", str(label)) for label in labels]
    keys = [
        ([(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in part], str(label))
        for part, label in zip(parts, labels, strict=True)
    ]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    rank = np.empty(len(keys), np.int64)
    rank[order] = np.arange(len(keys))
    return rank


def join_labels(
    a: xr.DataArray,
    b: xr.DataArray,
    dim: str = "stimulus",
    join: Join = "exact",
    names: tuple[str, str] = ("a", "b"),
) -> tuple[xr.DataArray, xr.DataArray, int]:
    """Bring two arrays to the same labels, in the order of the first.

    Returns both, and how many labels were dropped (always 0 for ``join="exact"``).
    """
    choose("join", join, ["exact", "inner"])
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
            + ('Use join="inner" to keep those in both' if len(common) else UNLIKE)
        )
    if not len(common):
        raise SchemaError(
            f"{names[0]} and {names[1]} share no label on {dim!r}: {names[0]} has "
            f"{listing(left, 3)}; {names[1]} has {listing(right, 3)}. "
            f"{_nearly(left, right, dim, names)}{UNLIKE}"
        )
    return take(a, dim, common), take(b, dim, common), len(left) + len(right) - 2 * len(common)


def kind_of(values: Iterable[Any]) -> str:
    """``text``, or the type of the first value that is neither text nor missing."""
    for value in values:
        if not isinstance(value, str) and not pd.isna(value):
            kinds = {np.integer: "int", np.floating: "float"}
            return next((kinds[k] for k in kinds if isinstance(value, k)), type(value).__name__)
    return "text"


UNLIKE = (
    "Were they named alike? Stimuli whose labels are those of a coordinate on the other side are "
    "paired with pair_on='…'"
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
        return ""
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


def _folded(label: str) -> str:
    return unicodedata.normalize("NFC", bare(label).casefold())


def _spaced(label: str) -> tuple[int, int]:
    """How many spaces are before and after the label."""
    return len(label) - len(label.lstrip()), len(label) - len(label.rstrip())


def take(array: xr.DataArray, dim: str, labels: pd.Index) -> xr.DataArray:
    """These labels of a dim, in this order; untouched where nothing changes."""
    index = array.indexes[dim]
    return array if index.equals(labels) else array.isel({dim: index.get_indexer(labels)})


def square_rdm(array: xr.DataArray, what: str, stimulus: str) -> xr.DataArray:
    """An RDM with the same labels on both dims, columns in the order of the rows."""
    second = f"{stimulus}_2"
    array = check_dims(array, stimulus, second, what=what)
    check_labels(array, stimulus, second, what=what)
    rows, columns = array.indexes[stimulus], array.indexes[second]
    if len(rows) != len(columns) or not rows.isin(columns).all():
        raise SchemaError(
            f"{what} must have the same labels on {stimulus!r} and {second!r}; "
            f"only among the rows: {listing(rows[~rows.isin(columns)])}"
        )
    return take(array, second, rows)


def on_side(array: xr.DataArray, dim: str, side: str) -> xr.DataArray:
    """Rename a dim and its coordinates for one side of a result: ``model`` to ``model_a``."""
    if dim not in array.dims:
        return array
    names = {str(n): f"{n}{side}" for n, c in array.coords.items() if c.dims == (dim,)}
    return array.rename({**names, dim: f"{dim}{side}"})


def validate(
    reps: xr.DataArray,
    *,
    model: str = "model",
    stimulus: str = "stimulus",
    feature: str = "feature",
) -> xr.DataArray:
    """Check a representation set against the data model, and return it unchanged.

    Parameters
    ----------
    reps : DataArray
        (model, stimulus, feature), extra dims allowed.
    model, stimulus, feature : str
        Names of the dims.

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
    array = check_dims(reps, model, stimulus, feature)
    faults = _faults(
        lambda: check_labels(array, model),
        lambda: check_labels(array, stimulus),
        lambda: check_representations(array, model, stimulus, feature),
        lambda: widths(array, feature),
    )
    values = [] if faults else _faulty_values(array, model, stimulus, feature)
    text = _faults(lambda: check_text(array, model), lambda: check_text(array, stimulus))
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
    check_twins(labels, f"{what} has labels on {dim!r}")


def _faulty_values(array: xr.DataArray, model: str, stimulus: str, feature: str) -> list[str]:
    real = xr.DataArray(np.arange(array.sizes[feature]), dims=feature) < widths(array, feature)
    missing = array.isnull()
    counts = xr.Dataset(
        {
            "nan": (missing & real).sum(dim=feature),
            "inf": ((abs(array) == np.inf) & real).sum(dim=feature),
            "padding": (~missing & ~real).sum(dim=feature),
            "width": xr.DataArray(widths(array, feature)),
        }
    ).compute()
    extra = [dim for dim in counts["nan"].dims if dim not in (model, stimulus)]
    kinds = {
        "NaN inside a row": (counts["nan"] > 0) & (counts["nan"] < counts["width"]),
        "infinity": counts["inf"] > 0,
        "values in the padding, beyond n_features": counts["padding"] > 0,
    }
    faults = []
    for kind, mask in kinds.items():
        for name in array.indexes[model]:
            here = mask.sel({model: name}).any(extra)
            if here.any():
                who = listing(array.indexes[stimulus][here.values])
                faults.append(f"reps has {kind}: model {name!r}, stimulus {who}")
    return faults
