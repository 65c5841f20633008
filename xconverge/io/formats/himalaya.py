"""Banded ridge regression by himalaya: what it takes, and scores that it gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.engine.resampling import Rng
from xconverge.io.formats._regression import Regression, labelled_scores, real_rows, regression
from xconverge.kernels.vectors import Array


@dataclass(frozen=True)
class Himalaya(Regression):
    """What `to_himalaya` hands over.

    Parameters
    ----------
    models, target : DataArray
        Where the rows are from: labels and coordinates of both.
    fold : ndarray
        Number of the fold (stimulus) that holds out each row.
    attrs : dict
        Folds, groups, seed and how both sets were paired, for results.
    X : list of ndarray
        A band (stimulus, feature) for each model, its real features alone.
    Y : ndarray
        (stimulus, feature) of the target.
    """

    X: list[Array]
    Y: Array

    @property
    def stimuli(self) -> pd.Index:
        """Labels of the rows."""
        labels: pd.Index = self.models.indexes["stimulus"]
        return labels

    @property
    def bands(self) -> list[str]:
        """Names of the bands, the models."""
        return [str(name) for name in self.models.indexes["model"]]

    @property
    def slices(self) -> list[slice]:
        """Columns of each band where all are side by side, ``np.hstack(X)``."""
        ends = accumulate((band.shape[1] for band in self.X), initial=0)
        return [slice(start, stop) for start, stop in pairwise(ends)]


def to_himalaya(
    models: xr.DataArray,
    target: xr.DataArray,
    *,
    folds: int = 5,
    groups: str | xr.DataArray | None = None,
    rng: Rng = None,
    dtype: Any = None,
) -> Himalaya:
    """Hand models and a target over to himalaya: a band a model, voxels, folds.

    Parameters
    ----------
    models : DataArray
        (model, stimulus, feature); each model becomes a band. A lazy set is computed.
    target : DataArray
        (model, stimulus, feature) with one model, or (stimulus, feature): voxels, units, channels.
    folds : int
        Number of folds, two at least.
    groups : str or DataArray, optional
        Stimulus coordinate of either side, or values (stimulus), whose equal values are held out
        together.
    rng : Generator, int or None
        For the folds; ``attrs["seed"]`` says what was drawn from. With the seed of an
        ``alignment(models, target, "linear_predictivity")`` the folds are those of it.
    dtype : dtype, optional
        Of the arrays, ``"float32"`` for a GPU; default that of the sets.

    Returns
    -------
    Himalaya
        ``X`` (a list of bands, each (stimulus, feature)), ``Y`` (stimulus, feature), ``cv`` (a list
        of positions (train, test)), ``inner(k)`` (the other folds, as positions among the rows to
        fit where fold k is held out: for the choice of penalties), ``stimuli``, ``bands``,
        ``slices`` (of each band in ``np.hstack(X)``), and what `from_himalaya` wants.

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
        Stimuli that a model or the target lacks: they are left out, by name.

    Notes
    -----
    himalaya need not be installed for this call. Nothing is centred or scaled:
    ``fit_intercept=True`` centres, a band of large numbers has a smaller penalty of its own.

    Dupré la Tour et al. (2022, doi:10.1016/j.neuroimage.2022.119728).

    Examples
    --------
    >>> from xconverge import stack_models
    >>> rng = np.random.default_rng(0)
    >>> ids = [f"s{i}" for i in range(20)]
    >>> models = stack_models({"a": rng.standard_normal((20, 3)), "b": np.ones((20, 2))},
    ...                       stimuli=ids)
    >>> brain = stack_models({"V1": rng.standard_normal((20, 4))}, stimuli=ids[::-1])
    >>> data = to_himalaya(models, brain, folds=4, rng=0)
    >>> [band.shape for band in data.X], data.Y.shape, [len(test) for _, test in data.cv]
    ([(20, 3), (20, 2)], (20, 4), [5, 5, 5, 5])
    """
    found = regression(models, target, folds, groups, rng, every=True)
    bands = real_rows(found.models)
    assert found.target is not None
    voxels = found.target.transpose("stimulus", "feature").values
    return Himalaya(
        **vars(found),
        X=[np.ascontiguousarray(band, dtype) for band in bands.values()],
        Y=np.ascontiguousarray(voxels, dtype),
    )


def from_himalaya(
    scores: Any,
    data: Himalaya,
    *,
    over: str | Sequence[str] | None = None,
    metric: str | None = None,
) -> xr.DataArray:
    """Label scores that himalaya gives: one a voxel, with the voxel's coordinates.

    Parameters
    ----------
    scores : array, or dict of arrays
        (feature), as ``himalaya.scoring.r2_score`` and ``correlation_score`` return it, in NumPy or
        on a GPU; with ``over``, of further dims before it. A dict has scores of one shape by name:
        those of each set of bands in a variance partition, say.
    data : Himalaya
        What `to_himalaya` returned.
    over : {"fold", "model"} or both, optional
        Dims of ``scores`` before the last: ``"fold"`` for a list of scores, one a fold;
        ``"model"`` for ``r2_score_split``, one a band.
    metric : str, optional
        Goes into ``attrs["metric"]``: ``"r2"``, ``"r"``.

    Returns
    -------
    DataArray
        ``feature_score`` (…, feature), of a dict (part, …, feature), with the coordinates of the
        target's features, and of the models over ``model``. ``attrs`` say folds, groups and seed.

    Raises
    ------
    SchemaError
        Another number of features or models, other dims than ``over`` names.
    ValueError
        ``over`` names other dims.

    Examples
    --------
    >>> from xconverge import stack_models
    >>> rng = np.random.default_rng(0)
    >>> ids = [f"s{i}" for i in range(20)]
    >>> models = stack_models({"a": rng.standard_normal((20, 3))}, stimuli=ids)
    >>> brain = stack_models({"V1": rng.standard_normal((20, 2))}, stimuli=ids)
    >>> brain = brain.assign_coords(voxel=("feature", ["left", "right"]))
    >>> data = to_himalaya(models, brain, rng=0)
    >>> scores = from_himalaya([0.1, 0.3], data, metric="r2")
    >>> scores.voxel[scores.argmax("feature")].item(), scores.attrs["metric"], scores.attrs["folds"]
    ('right', 'r2', 5)
    """
    if not isinstance(data, Himalaya):
        raise TypeError(f"data must be what to_himalaya returned, got {type(data).__name__}")
    return labelled_scores(scores, data, over, metric)
