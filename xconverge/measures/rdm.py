"""Representational dissimilarity matrices."""

from __future__ import annotations

from typing import Any

import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.measure import Measure
from xconverge.engine.pair import pairing_attrs
from xconverge.engine.rdms import checked_rdms
from xconverge.kernels import rdm as distances
from xconverge.kernels.rdm import Distance
from xconverge.kernels.vectors import METRICS, Array, working_dtype
from xconverge.labels.checks import check_dims, check_labels, rounding_of, widths
from xconverge.labels.coordinates import carried
from xconverge.labels.joins import on_side
from xconverge.labels.messages import choose
from xconverge.labels.variables import describe
from xconverge.measures import trials

TOO_MANY_PAIRS = (
    "fewer stimuli (.isel); or what needs no RDM: alignment(metric='rsa', method='pearson') or "
    "'cosine', metric='rdm' or 'cka', all in blocks; or binned_rsa inside bins"
)


def prepared_rows(reps: xr.DataArray, metric: str, what: str = "reps") -> xr.DataArray:
    """Rows (…, stimulus, feature) whose squared distances make the RDM, once a model."""
    rows: xr.DataArray = apply(
        distances.prepared,
        reps,
        widths(reps, what),
        core=[["stimulus", "feature"], []],
        out=[["stimulus", "feature"]],
        labels=("model", "stimulus"),
        what=what,
        metric=metric,
    )
    return rows


def rdm(
    reps: xr.DataArray,
    metric: str | Distance = "correlation",
    *,
    noise: str | xr.DataArray | Array | None = None,
    over: str | None = None,
) -> xr.DataArray:
    """Dissimilarity of every pair of stimuli, inside each model.

    Parameters
    ----------
    reps : DataArray
        (model, stimulus, feature), raw features of any width; ``model`` may be absent, extra
        dims (``subject``, ``time_bin`` …) are mapped over. Trials have the dim ``repetition``;
        one that is missing is a row of NaN.
    metric : {"correlation", "cosine", "euclidean", "sqeuclidean", "crossnobis"} or callable
        Distance, as scipy names it; or a function of two vectors that returns a number, called
        once for every pair of stimuli. ``crossnobis`` is the unbiased squared Mahalanobis
        distance over repetitions, divided by the number of features.
    noise : None, DataArray, array or str
        Covariance of the noise, for ``crossnobis``: None (none, features weigh alike), what is
        given, (feature, feature_2) and further dims of ``reps``; ``"shrinkage"`` (the best if you
        have none: Ledoit & Wolf, for each pair of stimuli from trials of others), ``"diagonal"``
        (a variance a feature); ``"shrinkage_same_trials"`` or ``"shrinkage_eye"``, and
        ``"shrinkage_diag"``, rsatoolbox's, which bias the distances.
    over : str, optional
        What is independent: ``"repetition"``, or a coordinate on it, or on ``stimulus`` and it,
        that names the run or the session of every trial. Then ``sqeuclidean``, ``cosine`` and
        ``correlation`` are made of products between different units alone, which noise does not
        bias; without it they are made for each repetition. ``crossnobis`` has ``"repetition"``.

    Returns
    -------
    DataArray
        ``rdm`` (…, stimulus, stimulus_2), a distance; 0 on the diagonal, NaN in the rows and
        columns of missing stimuli; float32 for features of up to 4 bytes, with a relative error
        below 1e-4 for the smallest distances. Unbiased ones may be negative, and are good to 1e-5
        of the squared norms there; ``attrs`` say ``noise``, ``over`` and ``n_repetitions``. Lazy if
        ``reps`` is; a task holds one model, all of its repetitions, and one RDM.

    Raises
    ------
    SchemaError
        Faulty rows, zero vectors under ``cosine`` and constant ones under ``correlation``, by
        name; distances too large or too small for their type; when computed. No repetitions, no
        such coordinate, trials without a unit, a covariance that is none, or noise that cannot be
        told.

    Warns
    -----
    RuntimeWarning
        Stimuli of which one unit alone was measured; stimuli whose unbiased squared norm is not
        positive under ``cosine`` and ``correlation`` over units: NaN.
    UserWarning
        ``noise`` from the trials that the distances are made of.

    Notes
    -----
    Distances that are 0 but for the rounding of the stored values are 0.

    Walther et al. (2016), Reliability of dissimilarity measures for multi-voxel pattern analysis.
    With missing or several trials a unit, all pairs of trials from different units weigh alike, as
    in rsatoolbox's ``calc_rdm_unbalanced``, whose ``noise`` is the inverse. A pattern that all
    stimuli share then adds noise, though no bias; `center` takes it away.

    Examples
    --------
    >>> import numpy as np
    >>> from xconverge import stack_models
    >>> reps = stack_models({"a": np.eye(3)}, stimuli=["cat", "dog", "cow"])
    >>> rdm(reps, "sqeuclidean").sel(model="a", stimulus="cat").values.tolist()
    [0.0, 2.0, 2.0]
    >>> trials = np.random.default_rng(0).standard_normal((4, 3, 60)) + np.eye(3).repeat(20, 1)
    >>> brain = xr.DataArray(trials, dims=("repetition", "stimulus", "feature"),
    ...     coords={"stimulus": ["cat", "dog", "cow"]})
    >>> rdm(brain, "crossnobis", noise="diagonal").sel(stimulus="cat").values.round(1).tolist()
    [0.0, 0.8, 1.1]
    """
    return make_rdm(reps, metric, noise=noise, over=over)


def make_rdm(
    reps: xr.DataArray,
    metric: str | Distance,
    what: str = "reps",
    *,
    noise: Any = None,
    over: str | None = None,
    over_name: str = "over",
    tell: bool = True,
) -> xr.DataArray:
    """``rdm`` of an array that errors call ``what``; the others are as in ``trial_rdm``."""
    made: Any
    if callable(metric):
        name, made = getattr(metric, "__name__", "callable"), metric
    else:
        name = choose("metric", metric, [*DISTANCES, *trials.METRICS])
        made = None if name in trials.METRICS else DISTANCES[name].make
    trials.check_trial_metric(metric, noise, over, over_name)
    reps = check_dims(reps, "stimulus", "feature", what=what)
    check_labels(reps, "stimulus", what=what)
    if "model" in reps.dims:
        check_labels(reps, "model", what=what)
    told: dict[str, Any] = {}
    if over is not None or made is None:
        result, told = trials.trial_rdm(
            reps, name, noise, "repetition" if over is None else over, what, TOO_MANY_PAIRS,
            over_name=over_name, tell=tell,
        )  # fmt: skip
    else:
        result = bare_rdm(reps, made, what)
    result = carried(result, on_side(reps["stimulus"], "stimulus", "_2").coords)
    return describe(
        result,
        "rdm",
        metric=name,
        **told,
        modality=reps.attrs.get("modality"),
        **pairing_attrs(reps),
    )


def bare_rdm(reps: xr.DataArray, metric: Any, what: str = "reps") -> xr.DataArray:
    """Distances (…, stimulus, stimulus_2) of rows whose labels are checked, without the second."""
    result: xr.DataArray = apply(
        distances.distances,
        reps,
        widths(reps, what),
        core=[["stimulus", "feature"], []],
        out=[["stimulus", "stimulus_2"]],
        sizes={"stimulus_2": reps.sizes["stimulus"]},
        dtypes=[working_dtype(reps.dtype)],
        labels=("model", "stimulus"),
        what=what,
        cure=TOO_MANY_PAIRS,
        metric=metric,
        share=rounding_of(reps),
    )
    return result


def rdms_of(target: xr.DataArray, metric: str | Distance, what: str = "target") -> xr.DataArray:
    """RDMs as they are; those of representations, which may stand for them, made here."""
    target = check_dims(target, "stimulus", what=what)
    if "stimulus_2" in target.dims:
        return checked_rdms(target, what)
    return make_rdm(target, metric, what)


_COST = "n² d, one matrix product; the result is n²"
_REFERENCE = "Kriegeskorte, Mur & Bandettini (2008)"

DISTANCES = {
    "correlation": Measure(
        METRICS["correlation"],
        per="stimulus pair",
        kind="distance",
        formula="1 - Pearson correlation of the two rows over features",
        range="0 to 2",
        chance="1 for independent rows",
        invariant=("scale", "row norm"),
        cost=_COST,
        reference=_REFERENCE,
        avoid="where the zero or the rotation of the features carries no meaning: it changes under "
        "both. Undefined for constant rows (an error)",
    ),
    "cosine": Measure(
        METRICS["cosine"],
        per="stimulus pair",
        kind="distance",
        formula="1 - cosine of the two rows",
        range="0 to 2",
        chance="1 for independent centred rows",
        invariant=("rotation", "scale", "row norm"),
        cost=_COST,
        reference=_REFERENCE,
        avoid="on features with a large common offset, which makes all cosines near 1: `center` "
        "first. Undefined for zero rows (an error)",
    ),
    "euclidean": Measure(
        METRICS["euclidean"],
        per="stimulus pair",
        kind="distance",
        formula="|x - y|",
        range="0 to ∞, in the unit of the features",
        chance="none",
        invariant=("rotation", "translation"),
        cost=_COST,
        reference=_REFERENCE,
        avoid="to compare models of different scale by value; rsatoolbox calls by this name the "
        "square divided by the number of features",
    ),
    "sqeuclidean": Measure(
        METRICS["sqeuclidean"],
        per="stimulus pair",
        kind="distance",
        formula="|x - y|²",
        range="0 to ∞, in the squared unit of the features",
        chance="none",
        invariant=("rotation", "translation"),
        cost=_COST,
        reference=_REFERENCE,
        avoid="with pearson where a few distant stimuli decide; ranks or `euclidean` then",
    ),
}
