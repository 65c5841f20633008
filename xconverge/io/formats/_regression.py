"""What libraries of regressions take, rows and positions, with the labels that belong to them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.engine.folds import folds_of_pair
from xconverge.engine.pair import Pair
from xconverge.engine.resampling import Rng, strata_name
from xconverge.kernels.vectors import Array
from xconverge.labels.checks import check_dims, check_representations, validate, widths
from xconverge.labels.joins import join_labels
from xconverge.labels.messages import SchemaError, listing
from xconverge.labels.numbers import float_array
from xconverge.labels.variables import describe

Positions = tuple[Array, Array]
"""Of the rows to fit, and of those held out."""


@dataclass(frozen=True)
class Regression:
    """Models and a target over the same stimuli, and folds of these as scikit-learn takes them.

    Parameters
    ----------
    models, target : DataArray
        Where the rows are from: labels and coordinates of both, (model, stimulus, feature) and
        (stimulus, feature), in memory. There may be no target.
    fold : ndarray
        Number of the fold (stimulus) that holds out each row.
    attrs : dict
        Folds, groups, seed and how both sets were paired, for results.
    """

    models: xr.DataArray
    target: xr.DataArray | None
    fold: Array
    attrs: dict[str, Any]

    @property
    def cv(self) -> list[Positions]:
        """Positions (train, test) of every fold, for ``cv=``."""
        return _splits(self.fold)

    def inner(self, left_out: int) -> list[Positions]:
        """Folds of the rows that are fitted where fold ``left_out`` is held out.

        They are the other folds: stimuli of one group stay together here too.

        Parameters
        ----------
        left_out : int
            Number of the fold, from 0.

        Returns
        -------
        list of (ndarray, ndarray)
            Positions among the rows to fit, ``cv[left_out][0]``.
        """
        if left_out not in self.fold:
            raise ValueError(
                f"left_out must be the number of a fold, 0 to {self.fold.max()}, got {left_out!r}"
            )
        return _splits(self.fold[self.fold != left_out])


def _splits(fold: Array) -> list[Positions]:
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in np.unique(fold)]


def regression(
    models: xr.DataArray,
    target: xr.DataArray | None,
    folds: int,
    groups: str | xr.DataArray | None,
    rng: Rng,
    *,
    every: bool,
) -> Regression:
    """Join both on their labels; stimuli that the target or ``every`` (any) model lacks are left.

    With ``every=False`` a stimulus stays that at least one model saw.
    """
    models = _only(models, "models")
    one, named = (models, True) if target is None else _one_model(target)
    if target is not None:  # Pair would call them a and b
        models, one, _ = join_labels(models, one, names=("models", "target"))
    pair = Pair(models, one, rng)
    pair = pair.mapped(lambda side, _: validate(side.compute()))
    seen = pair.seen[0].all("model") if every else pair.seen[0].any("model")
    kept = (seen if target is None else seen & pair.seen[1].isel(model=0)).values
    if not kept.all():
        gone = pair.a.indexes["stimulus"][~kept]
        warnings.warn(
            f"{len(gone)} of {len(kept)} stimuli are left out, which not "
            f"{'all models' if every else 'any model'}{'' if target is None else ' and the target'}"
            f" saw: {listing(gone)}",
            RuntimeWarning,
            stacklevel=3,
        )
        pair = pair.isel(kept)
    told = {"folds": folds, "groups": strata_name(groups), "seed": pair.seed, **pair.attrs}
    fold = folds_of_pair(pair, folds, groups).values
    if target is None:
        return Regression(pair.a, None, fold, told)
    voxels = float_array(pair.b, "target").isel({"model": 0}, drop=not named)
    voxels = voxels.isel({"feature": slice(int(widths(voxels)))})
    return Regression(pair.a, voxels.drop_vars("n_features", errors="ignore"), fold, told)


def _only(reps: xr.DataArray, what: str) -> xr.DataArray:
    """A set without further dims."""
    reps = check_representations(reps, what)
    extra = [str(dim) for dim in reps.dims if dim not in ("model", "stimulus", "feature")]
    if extra:
        raise SchemaError(
            f"{what} must have the dims model, stimulus and feature and has {extra} too; choose "
            "with .sel(), average, or stack onto 'model'"
        )
    return reps


def _one_model(target: xr.DataArray) -> tuple[xr.DataArray, bool]:
    """The target as a set of one model, and whether that has a name."""
    target = check_dims(target, "stimulus", "feature", what="target")
    named = "model" in target.coords
    if "model" not in target.dims:
        target = target.expand_dims("model") if named else target.expand_dims(model=["target"])
    target = _only(target, "target")
    if target.sizes["model"] > 1:
        raise SchemaError(
            f"target must be one model, and has {listing(target.indexes['model'])}; call it for "
            "each, with .sel(model='…')"
        )
    return target, named


def real_rows(reps: xr.DataArray) -> dict[str, Array]:
    """The real features (stimulus, feature) of every model, as floats."""
    real = np.broadcast_to(widths(reps), reps.sizes["model"])
    values = float_array(reps, "reps").transpose("model", "stimulus", "feature").values
    names = reps.indexes["model"]
    return {
        str(name): rows[:, :width] for name, rows, width in zip(names, values, real, strict=True)
    }


def labelled_scores(
    scores: Any, data: Regression, over: str | Sequence[str] | None, metric: str | None
) -> xr.DataArray:
    """Scores (…, feature) with the coordinates of the target's features."""
    models, target = data.models, data.target
    if target is None:
        raise SchemaError("there is no target whose features scores are of; hand one over")
    named = isinstance(scores, Mapping)
    parts = {key: _numbers(value) for key, value in (scores if named else {"": scores}).items()}
    if len({part.shape for part in parts.values()}) != 1:
        raise SchemaError(
            "scores must be an array, or a dict of arrays of one shape, got "
            f"{ {key: part.shape for key, part in parts.items()} }"
        )
    values = np.stack(list(parts.values())) if named else parts[""]
    dims = (*(["part"] if named else []), *_listed(over), "feature")
    size = target.sizes["feature"]
    if values.ndim != len(dims) or values.shape[-1] != size:
        raise SchemaError(
            f"scores must have the dims {list(dims)}, the last of size {size}, got the shape "
            f"{values.shape}; over='fold', 'model' or both names those before it"
        )
    array = xr.DataArray(values, dims=dims)
    if named:
        array = array.assign_coords(part=np.array([str(key) for key in parts], dtype=object))
    if "fold" in dims:
        array = array.assign_coords(fold=np.arange(array.sizes["fold"]))
    coords = {n: c.variable for n, c in target.coords.items() if "stimulus" not in c.dims}
    if "model" in dims:
        if array.sizes["model"] != models.sizes["model"]:
            raise SchemaError(
                f"scores over 'model' must be as many as the {models.sizes['model']} models, "
                f"got {array.sizes['model']}"
            )
        if "model" in coords:
            coords["target"] = coords.pop("model")
        own = {n: c.variable for n, c in models.coords.items() if c.dims == ("model",)}
        array = array.assign_coords({n: c for n, c in own.items() if n != "n_features"})
    coords = {n: c for n, c in coords.items() if n not in array.coords}
    return describe(array.assign_coords(coords), "feature_score", metric=metric, **data.attrs)


def _numbers(scores: Any) -> Array:
    """An array of scores, wherever they lie: tensors of a GPU, or a list of them, are fetched."""
    if isinstance(scores, list | tuple):
        return np.array([_numbers(score) for score in scores])
    for fetch in ("detach", "cpu", "get"):
        if hasattr(scores, fetch) and not isinstance(scores, np.ndarray | pd.Series):
            scores = getattr(scores, fetch)()
    return np.asarray(scores, np.float64)


def _listed(over: str | Sequence[str] | None) -> list[str]:
    dims = [over] if isinstance(over, str) else list(over or ())
    unknown = [dim for dim in dims if dim not in ("fold", "model")]
    if unknown or len(set(dims)) < len(dims):
        raise ValueError(f"over must be 'fold', 'model' or both, got over={over!r}")
    return dims
