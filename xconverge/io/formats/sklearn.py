"""Models and targets as scikit-learn takes them: tables with labels, and folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import xarray as xr

from xconverge.engine.resampling import Rng
from xconverge.io.formats._regression import Regression, labelled_scores, real_rows, regression


@dataclass(frozen=True)
class Sklearn(Regression):
    """What `to_sklearn` hands over.

    Parameters
    ----------
    models, target : DataArray
        Where the rows are from: labels and coordinates of both.
    fold : ndarray
        Number of the fold (stimulus) that holds out each row.
    attrs : dict
        Folds, groups, seed and how both sets were paired, for results.
    X : DataFrame
        Features of all models side by side, ``"MODEL NUMBER"``, one row a stimulus.
    y : DataFrame or None
        Features of the target.
    """

    X: pd.DataFrame
    y: pd.DataFrame | None

    @property
    def widths(self) -> dict[str, int]:
        """How many columns each model has, in their order."""
        return {name: rows.shape[1] for name, rows in real_rows(self.models).items()}


def to_sklearn(
    models: xr.DataArray,
    target: xr.DataArray | None = None,
    *,
    folds: int = 5,
    groups: str | xr.DataArray | None = None,
    rng: Rng = None,
) -> Sklearn:
    """Hand models and a target over to scikit-learn: tables with labels, and folds.

    Parameters
    ----------
    models : DataArray
        (model, stimulus, feature). A lazy set is computed.
    target : DataArray, optional
        (model, stimulus, feature) with one model, or (stimulus, feature): what to predict.
    folds : int
        Number of folds, two at least.
    groups : str or DataArray, optional
        Stimulus coordinate of either side, or values (stimulus), whose equal values are held out
        together.
    rng : Generator, int or None
        For the folds; ``attrs["seed"]`` says what was drawn from.

    Returns
    -------
    Sklearn
        ``X``, a DataFrame (stimulus, feature) of the real features of all models side by side,
        called ``"MODEL NUMBER"``; ``y``, one of the target, or None; ``cv``, a list of positions
        (train, test) for ``cv=``; ``inner(k)``, the other folds as positions among the rows to fit
        where fold k is held out; ``widths``, the number of columns of each model.

    Raises
    ------
    SchemaError
        Other stimuli on one side (`pair` brings both to the same), several models or further dims
        in the target, faulty rows by name.
    ValueError
        More folds than stimuli, or than groups.

    Warns
    -----
    RuntimeWarning
        Stimuli that the target, or every model, lacks: they are left out, by name. What some
        models lack stays, as NaN: ``xconverge.sklearn.SharedSpace`` takes it.

    Notes
    -----
    scikit-learn need not be installed for this call. `stack_models` takes a table that comes back
    (``set_output(transform="pandas")``), as it has the labels.

    Examples
    --------
    >>> import numpy as np
    >>> from xconverge import stack_models
    >>> rng = np.random.default_rng(0)
    >>> ids = [f"s{i}" for i in range(6)]
    >>> models = stack_models({"a": rng.standard_normal((6, 2)), "b": np.ones((6, 1))}, stimuli=ids)
    >>> data = to_sklearn(models, folds=3, rng=0)
    >>> data.X.columns.tolist(), data.X.index.tolist()[:2], data.widths
    (['a 0', 'a 1', 'b 0'], ['s0', 's1'], {'a': 2, 'b': 1})
    """
    found = regression(models, target, folds, groups, rng, every=False)
    index = found.models.indexes["stimulus"]
    parts = [
        pd.DataFrame(rows, index, [f"{name} {i}" for i in range(rows.shape[1])])
        for name, rows in real_rows(found.models).items()
    ]
    y = None
    if found.target is not None:
        values = found.target.transpose("stimulus", "feature").values
        y = pd.DataFrame(values, index, [str(i) for i in range(values.shape[1])])
    return Sklearn(**vars(found), X=pd.concat(parts, axis=1), y=y)


def from_sklearn(
    scores: Any,
    data: Sklearn,
    *,
    over: str | Sequence[str] | None = None,
    metric: str | None = None,
) -> xr.DataArray:
    """Label scores that scikit-learn gives: one a feature of the target, with its coordinates.

    Parameters
    ----------
    scores : array, or dict of arrays
        (feature), as ``r2_score(…, multioutput="raw_values")`` returns it; with ``over``, of
        further dims before it. A dict has scores of one shape by name.
    data : Sklearn
        What `to_sklearn` returned for a target.
    over : {"fold", "model"} or both, optional
        Dims of ``scores`` before the last.
    metric : str, optional
        Goes into ``attrs["metric"]``.

    Returns
    -------
    DataArray
        ``feature_score`` (…, feature), of a dict (part, …, feature), as `from_himalaya` returns it.

    Raises
    ------
    SchemaError
        No target, another number of features or models, other dims than ``over`` names.
    ValueError
        ``over`` names other dims.

    Examples
    --------
    >>> import numpy as np
    >>> from xconverge import stack_models
    >>> rng = np.random.default_rng(0)
    >>> ids = [f"s{i}" for i in range(6)]
    >>> models = stack_models({"a": rng.standard_normal((6, 2))}, stimuli=ids)
    >>> brain = stack_models({"V1": rng.standard_normal((6, 2))}, stimuli=ids)
    >>> brain = brain.assign_coords(voxel=("feature", ["left", "right"]))
    >>> from_sklearn([0.1, 0.3], to_sklearn(models, brain, rng=0)).voxel.values.tolist()
    ['left', 'right']
    """
    if not isinstance(data, Sklearn):
        raise TypeError(f"data must be what to_sklearn returned, got {type(data).__name__}")
    return labelled_scores(scores, data, over, metric)
