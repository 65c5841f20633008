"""Models of rsatoolbox made of RDMs, and what its inference says of them."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
import xarray as xr

from xconverge.engine.rdms import checked_rdms
from xconverge.io.formats._flat import free_our_names
from xconverge.io.formats._labels import text_labels
from xconverge.io.formats._needs import needs
from xconverge.io.formats._rsatoolbox import coordinates
from xconverge.io.formats.rsatoolbox_rdms import rdms_of_models, to_rsatoolbox_rdms
from xconverge.kernels.vectors import Array
from xconverge.labels.checks import check_labels, model_groups
from xconverge.labels.joins import join_labels, on_side, take
from xconverge.labels.messages import SchemaError, choose, listing
from xconverge.labels.text import label_text
from xconverge.labels.variables import described

KINDS = {
    "fixed": "ModelFixed",
    "weighted": "ModelWeighted",
    "select": "ModelSelect",
    "interpolate": "ModelInterpolate",
}
Kind = Literal["fixed", "weighted", "select", "interpolate"]
DRAWN = ("both", "rdm", "pattern")
"""What the dual bootstrap draws again, in the order of its last axis."""


def to_rsatoolbox_models(
    rdm: xr.DataArray,
    data: Any = None,
    *,
    kind: Kind = "fixed",
    by: str | None = None,
    stimulus: str = "stimulus",
) -> list[Any]:
    """Make models of rsatoolbox of RDMs, with their patterns in the order of the data's.

    Parameters
    ----------
    rdm : DataArray
        (model, stimulus, stimulus_2), as `rdm` returns it. A lazy one is computed.
    data : rsatoolbox.rdm.RDMs or DataArray, optional
        The RDMs that the models are to be evaluated against: rsatoolbox pairs patterns by
        position, so that those of the models are put in this order, by label. Without it they keep
        theirs.
    kind : {"fixed", "weighted", "select", "interpolate"}
        ``"fixed"``: one ModelFixed a model. Else one model of several RDMs: a weighted sum, a
        choice among them, or a point between two neighbours in their order.
    by : str, optional
        Coordinate on ``model`` (``"network"``) of which each value becomes one such model, made of
        the RDMs that have it (its layers); by default all RDMs make one, called ``kind``.
    stimulus : str
        Pattern descriptor of ``data`` that names the stimuli.

    Returns
    -------
    list of rsatoolbox.model.Model
        Named as the models, or the values of ``by``. Labels and coordinates are descriptors of
        their ``rdm_obj``, from which `from_rsatoolbox_result` takes them.

    Raises
    ------
    ImportError
        rsatoolbox is not installed.
    SchemaError
        Other stimuli than those of ``data``, distances that are missing, and what
        `to_rsatoolbox_rdms` refuses.
    ValueError
        ``by`` with ``kind="fixed"``.

    Notes
    -----
    For a bootstrap over patterns say ``pattern_descriptor="stimulus"``: rsatoolbox's default,
    ``"index"``, is a position, and RDMs that were cut with ``subset_pattern`` keep those of the
    whole.

    Examples
    --------
    >>> from xconverge import rdm, stack_models
    >>> ids = ["cat", "dog", "cow", "owl"]
    >>> x = np.random.default_rng(0).standard_normal((4, 3))
    >>> nets = rdm(stack_models({"vit": x, "cnn": x[::-1]}, stimuli=ids), "euclidean")
    >>> brain = to_rsatoolbox_rdms(nets[:, ::-1, ::-1])
    >>> models = to_rsatoolbox_models(nets, brain)
    >>> [model.name for model in models]
    ['vit', 'cnn']
    >>> models[0].rdm_obj.pattern_descriptors["stimulus"].tolist()
    ['owl', 'cow', 'dog', 'cat']
    """
    model = needs("rsatoolbox.model", "to_rsatoolbox_models", "rsatoolbox")
    choose("kind", kind, KINDS)
    if by is not None and kind == "fixed":
        raise ValueError(f"by={by!r} makes one model of several RDMs: it goes with kind='weighted'")
    array = rdms_of_models(rdm)
    if data is not None:
        array = _ordered(array, data, stimulus)
    _check_whole(array)
    names = array.indexes["model"]
    if kind == "fixed":
        members: dict[Any, Any] = {name: [i] for i, name in enumerate(names)}
    else:
        members = {kind: range(len(names))} if by is None else model_groups(array, by)
    make = getattr(model, KINDS[kind])
    # not .subset(): it makes text of numpy of descriptors, which cannot be saved beyond ASCII
    return [
        make(str(name), to_rsatoolbox_rdms(array.isel(model=list(where))))
        for name, where in members.items()
    ]


def _ordered(array: xr.DataArray, data: Any, stimulus: str) -> xr.DataArray:
    """The RDMs with stimuli in the order of the data's."""
    if isinstance(data, xr.DataArray):
        other = checked_rdms(data, "data")
    else:
        table = getattr(data, "pattern_descriptors", {})
        if stimulus not in table:
            raise SchemaError(
                f"data has no pattern descriptor {stimulus!r}; name the one that names each "
                f"stimulus with stimulus='…': there is {listing(table, 30) or 'none'}"
            )
        labels = text_labels(np.asarray(table[stimulus]), repr(stimulus))
        other = xr.DataArray(np.zeros(len(labels)), {"stimulus": labels}, ("stimulus",))
    cure = "keep those that both have with .sel(stimulus=…, stimulus_2=…) or xconverge.pair"
    other, array, _ = join_labels(other, array, "stimulus", "exact", ("data", "rdm"), cure)
    for dim in ("stimulus", "stimulus_2"):
        array = take(array, dim, other.indexes["stimulus"])
    return array


def _check_whole(array: xr.DataArray) -> None:
    """No distance is missing, which rsatoolbox compares with nothing but the same gaps."""
    gone = array.isnull().values
    if gone.any():
        stimuli = array.indexes["stimulus"][gone.all(2).any(0)]
        raise SchemaError(
            f"rdm has missing distances in {listing(array.indexes['model'][gone.any((1, 2))])}, "
            "which rsatoolbox cannot compare; leave out the stimuli that not all models saw, on "
            f"both dims: {listing(stimuli) or 'none is missing throughout'}"
        )


def from_rsatoolbox_result(
    result: Any, data: Any = None, *, subject: str = "model", test_type: str = "t-test"
) -> xr.Dataset:
    """Label what rsatoolbox's inference found: scores, errors, p-values, noise ceiling.

    Parameters
    ----------
    result : rsatoolbox.inference.Result
        What ``eval_fixed``, ``eval_bootstrap…``, ``eval_dual_bootstrap``, ``bootstrap_crossval`` or
        ``crossval`` returned, or ``load_results``.
    data : rsatoolbox.rdm.RDMs or DataArray, optional
        The RDMs that it was evaluated against: they name the ``subject`` of ``evaluation``.
    subject : str
        RDM descriptor of ``data`` that names them.
    test_type : {"t-test", "bootstrap", "ranksum"}
        Which of rsatoolbox's tests gives the p-values.

    Returns
    -------
    Dataset
        Over ``model``, with the coordinates that `to_rsatoolbox_models` handed over:
        ``estimate``, the mean score; ``standard_error``; ``p_value`` of a score of 0 at most, and
        ``ceiling_p_value`` of one below the lower noise ceiling. ``difference`` and
        ``difference_p_value`` (model, model_2), the score of model less model_2. ``lower`` and
        ``upper``, the noise ceiling. ``evaluation``, all scores that the estimate is the mean of:
        (model, subject) of ``eval_fixed``, (model, fold) of ``crossval``, (model, draw) of a
        bootstrap, its folds averaged, with ``drawn`` (both, rdm, pattern) for a dual one. What a
        method does not give is NaN: ``crossval`` has no errors, ``"bootstrap"`` no test against a
        ceiling that was drawn too. ``attrs`` say method, how it was evaluated, degrees of freedom
        and the test.

    Raises
    ------
    TypeError
        No Result.
    SchemaError
        Models of one name; RDMs in ``data`` that are not as many as were evaluated.
    ValueError
        A test that has no p-value a model: ``"bootstrap"`` of scores over folds or subjects.

    Notes
    -----
    All numbers are rsatoolbox's own: ``get_means``, ``get_sem``, ``test_all``. p-values are for
    one test each; correct them for many models. Schütt et al. (2023, doi:10.7554/eLife.82566).

    Examples
    --------
    >>> from rsatoolbox.inference import eval_fixed
    >>> from xconverge import rdm, stack_models
    >>> rng = np.random.default_rng(0)
    >>> ids = [f"s{i}" for i in range(8)]
    >>> def some(names):
    ...     return rdm(stack_models({n: rng.standard_normal((8, 5)) for n in names}, stimuli=ids))
    >>> nets, brain = some(["vit", "cnn"]), some(["sub1", "sub2", "sub3"])
    >>> models = to_rsatoolbox_models(nets, brain)
    >>> result = eval_fixed(models, to_rsatoolbox_rdms(brain), method="corr")
    >>> table = from_rsatoolbox_result(result, brain)
    >>> dict(table["evaluation"].sizes), table.attrs["method"]
    ({'model': 2, 'subject': 3}, 'corr')
    """
    evaluations = np.asarray(getattr(result, "evaluations", None))
    if evaluations.ndim < 2 or not hasattr(result, "noise_ceiling"):
        raise TypeError(
            f"result must be a Result of rsatoolbox.inference, got {type(result).__name__}"
        )
    models = _models(result.models)
    mean, error, pairwise, zero, noise = _numbers(result, test_type)
    lower, upper = (_mean(bound) for bound in result.noise_ceiling)
    square = ("model", "model_2")
    table = described(
        {
            "estimate": xr.DataArray(mean, dims="model"),
            "standard_error": xr.DataArray(error, dims="model"),
            "p_value": xr.DataArray(zero, dims="model"),
            "ceiling_p_value": xr.DataArray(noise, dims="model"),
            "difference": xr.DataArray(mean[:, None] - mean, dims=square),
            "difference_p_value": xr.DataArray(pairwise, dims=square),
            "lower": xr.DataArray(lower),
            "upper": xr.DataArray(upper),
            "evaluation": _evaluations(str(result.cv_method), evaluations, data, subject),
        },
        method=str(result.method),
        evaluated=str(result.cv_method),
        test=test_type,
        dof=None if result.dof is None else int(result.dof),
    )
    return table.assign_coords(models.coords).assign_coords(on_side(models, "model", "_2").coords)


def _models(models: Any) -> xr.DataArray:
    """Names of the models, and the coordinates that their RDMs carry."""
    names = label_text([model.name for model in models], "result: names of its models")
    tables = [getattr(model.rdm_obj, "rdm_descriptors", {}) for model in models]
    shared = set.intersection(*map(set, tables)) - {"index", "model"}
    found = {key: [_only(table[key]) for table in tables] for key in sorted(shared)}
    # of a weighted model, what all of its RDMs have
    kept = {key: values for key, values in found.items() if None not in values}
    blank = xr.DataArray(np.zeros(len(names)), {"model": names}, ("model",))
    check_labels(blank, "model", what="result")
    blank = blank.assign_coords(coordinates(kept, "model", len(names), ()))
    return free_our_names(blank, keep=("n_features", "n_repetitions"))


def _only(values: Any) -> Any:
    """The value of all RDMs of a model, or None."""
    values = list(np.atleast_1d(values))
    return values[0] if values and all(value == values[0] for value in values) else None


def _numbers(result: Any, test_type: str) -> tuple[Array, Array, Array, Array, Array]:
    """Means and errors (model), p-values of pairs (model, model_2), of 0 and the ceiling (model).

    NaN without variances, of which both the errors and the t-tests are made.
    """
    choose("test_type", test_type, ["t-test", "bootstrap", "ranksum"])
    n = len(result.models)
    none = np.full(n, np.nan)
    with warnings.catch_warnings():
        # of draws in which too few patterns were left, all of which are NaN
        warnings.simplefilter("ignore", RuntimeWarning)
        mean, error = np.asarray(result.get_means(), np.float64), result.get_sem()
        error = none if error is None else np.asarray(error, np.float64)
        if test_type == "t-test" and result.model_var is None:
            return mean, error, np.full((n, n), np.nan), none, none
        zero = np.asarray(result.test_zero(test_type), np.float64)
        if zero.shape != (n,):
            raise ValueError(
                f"test_type={test_type!r} gives no p-value a model for {result.cv_method!r}; use "
                "test_type='t-test'"
            )
        try:
            noise = np.asarray(result.test_noise(test_type), np.float64)
        except ValueError:
            # rsatoolbox 0.3 cannot compare drawn scores with a ceiling that was drawn with them
            noise = none
        # and it compares no model alone
        pairs = result.test_pairwise(test_type) if n > 1 else np.full((1, 1), np.nan)
    return mean, error, np.asarray(pairs, np.float64), zero, noise


def _mean(values: Any) -> float:
    """Of the values that are there; NaN if none is."""
    values = np.asarray(values, np.float64)
    there = values[~np.isnan(values)]
    return float(there.mean()) if there.size else np.nan


def _evaluations(how: str, values: Array, data: Any, subject: str) -> xr.DataArray:
    """All scores of every model (model, …)."""
    if how in ("fixed", "crossvalidation"):
        dim = "subject" if how == "fixed" else "fold"
        array = xr.DataArray(values[0], dims=("model", dim))
        if how == "fixed" and data is not None:
            return array.assign_coords(subject=_subjects(data, subject, array.sizes[dim]))
        return array
    dual = how.startswith("dual") and values.ndim == 5
    folds = tuple(range(2, values.ndim - dual))
    gone = np.isnan(values)
    with np.errstate(invalid="ignore"):
        means = np.where(gone, 0, values).sum(folds) / (~gone).sum(folds)
    array = xr.DataArray(means, dims=("draw", "model", *(["drawn"] if dual else [])))
    if dual:
        array = array.assign_coords(drawn=np.array(DRAWN, dtype=object))
    return array.transpose("model", "draw", ...)


def _subjects(data: Any, subject: str, n: int) -> Array:
    """Names of the RDMs that were evaluated against."""
    if isinstance(data, xr.DataArray):
        data = to_rsatoolbox_rdms(data)
    table = getattr(data, "rdm_descriptors", {})
    if subject not in table:
        raise SchemaError(
            f"data has no RDM descriptor {subject!r}; name the one that names each RDM with "
            f"subject='…': there is {listing(table, 30) or 'none'}"
        )
    labels: Array = text_labels(np.asarray(table[subject]), repr(subject))
    if len(labels) != n:
        raise SchemaError(f"data has {len(labels)} RDMs, and {n} were evaluated")
    return labels
