"""Distances of repeated measurements: what the dim ``repetition`` is for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from xconverge.engine.apply import CURES, apply
from xconverge.engine.folds import fold_numbers
from xconverge.engine.measure import Measure
from xconverge.engine.names import names_along
from xconverge.kernels import crossnobis as kernels
from xconverge.kernels.noise_covariance import NoiseError
from xconverge.kernels.vectors import Array, RowError, working_dtype
from xconverge.labels.arguments import text
from xconverge.labels.checks import check_dims, check_labels, widths
from xconverge.labels.coordinates import read
from xconverge.labels.joins import join_extra, join_labels, natural_rank
from xconverge.labels.kinds import came
from xconverge.labels.messages import SchemaError, choose, listing, shown

FOLDS = 5
"""Parts of the stimuli: noise is told from those outside both parts of a pair."""
SAME_TRIALS = ("shrinkage_same_trials", "shrinkage_eye", "shrinkage_diag")
CROSSED = ("crossnobis", "sqeuclidean", "cosine", "correlation")
"""Metrics that have an unbiased form."""


def check_trial_metric(metric: Any, noise: Any, over: str | None, name: str = "over") -> None:
    """The metric has an unbiased form where one is asked for, and noise where it is whitened.

    Errors call ``over`` by the ``name`` that it was given by.
    """
    if noise is not None and metric != "crossnobis":
        raise TypeError(
            f"noise goes with metric 'crossnobis', got metric={came(metric)}; leave noise out"
        )
    if over is None:
        return
    text(name, over, "'repetition', or the name of a coordinate on it")
    if metric in CROSSED:
        return
    if metric == "euclidean":
        raise ValueError(
            "metric='euclidean' has no unbiased form over repetitions: the root of an unbiased "
            "square is biased, and squares may be below 0; use 'sqeuclidean' or 'crossnobis'"
        )
    raise TypeError(f"{name} goes with the metrics {', '.join(CROSSED)}, got metric={came(metric)}")


def trial_rdm(
    reps: xr.DataArray,
    metric: str,
    noise: Any,
    over: str,
    what: str,
    cure: str,
    *,
    over_name: str = "over",
    tell: bool = True,
) -> tuple[xr.DataArray, dict[str, Any]]:
    """Unbiased RDMs (…, stimulus, stimulus_2) of checked ``reps``, and what attrs say of them.

    Errors call ``over`` by ``over_name``. Without ``tell`` there are no warnings, of parts of
    trials whose whole was told of.
    """
    inputs = trial_inputs(reps, noise, over, what, over_name, tell)
    result = inputs.on_each_model(
        partial(_distances, metric=metric, over=over, what=what, tell=tell),
        out=[["stimulus", "stimulus_2"]],
        sizes={"stimulus_2": reps.sizes["stimulus"]},
        dtypes=[working_dtype(reps.dtype)],
        cure=cure,
    )
    told = {"noise": inputs.noise} if metric == "crossnobis" else {}
    return result, {**told, "over": over, "n_repetitions": reps.sizes["repetition"]}


class ModelTrials(NamedTuple):
    """The trials of one model in a task, and how messages name it: ``region 'V1'``.

    ``noise`` and ``folds`` are as ``kernels.distances`` takes them.
    """

    trials: kernels.Trials
    units: Array
    stimuli: Array
    noise: Array | str | None
    folds: Array | None
    which: list[str]

    @property
    def where(self) -> str:
        """Which model it is, as a warning says it."""
        return _where(self.which)


class TrialInputs(NamedTuple):
    """What a kernel of trials takes: the trials, widths, units, and what noise asks for.

    ``core`` are the core dims of ``arrays``, ``lead`` the dims that are mapped over, ``noise`` what
    the noise is called. Errors call the trials ``what``, and ``over`` by ``word``.
    """

    arrays: list[xr.DataArray]
    core: list[list[str]]
    lead: list[str]
    noise: str
    over: str
    what: str
    word: str

    def on_each_model(
        self,
        kernel: Callable[..., Any],
        *more: xr.DataArray,
        core: Sequence[Sequence[str]] = (),
        **options: Any,
    ) -> Any:
        """A kernel of ``ModelTrials``, and of ``more`` with these core dims, on every model."""
        names = [names_along(self.arrays[0], dim) for dim in ("stimulus", *self.lead)]
        return apply(
            # without the arrays, which would travel with every task
            partial(_on_trials, kernel=kernel, inputs=self._replace(arrays=[])),
            *self.arrays,
            *names,
            *more,
            core=[*self.core, ["stimulus"], *([] for _ in self.lead), *core],
            labels=("model", "stimulus"),
            what=self.what,
            **options,
        )


def _on_trials(
    x: Array,
    width: int,
    units: Array,
    *rest: Any,
    kernel: Callable[..., Any],
    inputs: TrialInputs,
) -> Any:
    """The kernel on trials (R, n, F) of one model, which are checked and named."""
    first = len(inputs.core) - 3
    last = first + 1 + len(inputs.lead)
    # what noise asks for, names, and what the kernel takes more
    given, (stimuli, *places), more = rest[:first], rest[first:last], rest[last:]
    which = [f"{dim} {shown(one)}" for dim, one in zip(inputs.lead, places, strict=True)]
    trials = _checked_trials(x, width, units, stimuli, which, inputs)
    noise, folds = None if inputs.noise == "none" else inputs.noise, None
    if inputs.noise == "given":
        noise = given[0][:width, :width]
    elif inputs.noise == "shrinkage":
        folds = given[0]
    return kernel(ModelTrials(trials, units, stimuli, noise, folds, which), *more)


def trial_inputs(
    reps: xr.DataArray, noise: Any, over: str, what: str, word: str = "over", tell: bool = True
) -> TrialInputs:
    """Of ``reps``, whose dims stimulus and feature and whose labels are checked.

    ``word`` is what the argument ``over`` is called in errors. Without ``tell`` there are no
    warnings.
    """
    text(word, over, "'repetition', or a coordinate on it")
    if "repetition" not in reps.dims:
        raise SchemaError(
            f"{what} needs the dim 'repetition', independent measurements of each stimulus, for "
            f"{word}={over!r}, and has {list(map(str, reps.dims))}; .rename(…='repetition') names "
            "it, readers keep it with repetitions='keep'; of one measurement a stimulus, leave "
            f"{word} out"
        )
    if "repetition" in reps.indexes:
        check_labels(reps, "repetition", what=what)
    units = units_of(reps, over, what, word)
    kind, given = _noise(reps, noise, what, tell)
    if kind == "shrinkage":
        n = reps.sizes["stimulus"]
        if n < 3:
            raise SchemaError(
                f"noise='shrinkage' takes the noise of a pair from other stimuli, and needs at "
                f"least 3; {what} has {n}: give a covariance, or noise=None"
            )
        given = [fold_numbers(reps, min(FOLDS, n)).reset_coords(drop=True)]
    bare = reps.drop_vars([n for n, c in reps.coords.items() if "repetition" in c.dims])
    return TrialInputs(
        [bare, _widths(reps, what), units, *given],
        [
            ["repetition", "stimulus", "feature"],
            [],
            ["stimulus", "repetition"],
            *([list(map(str, one.dims[-2:])) for one in given] if kind == "given" else []),
            *([["stimulus"]] if kind == "shrinkage" else []),
        ],
        [str(d) for d in reps.dims if d not in ("repetition", "stimulus", "feature")],
        kind,
        over,
        what,
        word,
    )


def _checked_trials(
    x: Array, width: int, units: Array, stimuli: Array, which: list[str], inputs: TrialInputs
) -> kernels.Trials:
    """Trials of one model, each of which has a unit; errors name it by ``which``."""
    what, over = inputs.what, inputs.over
    try:
        found = kernels.trials(x, width)
    except RowError as error:
        who = ", ".join([*which, f"stimulus {listing(stimuli[error.where[:, 0]])}"])
        raise SchemaError(f"{what} has {error.reason}: {who}. {CURES[error.reason]}") from error
    lacking = np.flatnonzero(((units < 0) & found.seen).any(1))
    if len(lacking):
        raise SchemaError(
            f"{what}{_where(which)}: {inputs.word}={over!r} has no value for trials that were "
            f"measured, of stimulus {listing(stimuli[lacking])}; every trial needs its {over}: "
            "fill it in, or set these trials to NaN"
        )
    return found


def _where(which: Sequence[str]) -> str:
    return f" ({', '.join(which)})" if which else ""


def _distances(one: ModelTrials, *, metric: str, over: str, what: str, tell: bool) -> Array:
    """The RDM (n, n) of one model, whose troubles are told by name."""
    try:
        found = kernels.distances(one.trials, one.units, metric, one.noise, one.folds)
    except NoiseError as error:
        raise SchemaError(f"{', '.join([what, *one.which])}: {error}") from error
    if tell:
        _tell_missing(found, one, metric, over)
    return found.rdm


def _tell_missing(found: kernels.Found, one: ModelTrials, metric: str, over: str) -> None:
    """Warn of stimuli without unbiased distances."""
    if len(found.lone):
        lone = "one repetition" if over == "repetition" else f"one value of {over!r}"
        warnings.warn(
            f"rdm{one.where} by {metric!r} needs at least 2 independent measurements of a "
            f"stimulus; {listing(one.stimuli[found.lone])} has {lone} alone: NaN",
            RuntimeWarning,
            stacklevel=3,
        )
    if len(found.undirected):
        warnings.warn(
            f"rdm{one.where} by {metric!r}: the unbiased squared norm of {len(found.undirected)} "
            f"of {len(one.stimuli)} stimuli is not positive, "
            f"{listing(one.stimuli[found.undirected])}; they have no direction beyond noise: NaN. "
            "More repetitions, or metric='crossnobis', which needs none",
            RuntimeWarning,
            stacklevel=3,
        )


def _widths(reps: xr.DataArray, what: str) -> xr.DataArray:
    """Widths, which are the same in all repetitions."""
    real = widths(reps, what)
    if "repetition" not in real.dims:
        return real
    first = real.isel(repetition=0, drop=True)
    if (real != first).any():
        raise SchemaError(
            f"{what}: n_features differs between repetitions, which measure the same features; "
            "set features that one of them lacks to their mean, or leave them out"
        )
    return first


def units_of(reps: xr.DataArray, over: str, what: str, name: str = "over") -> xr.DataArray:
    """Number (…, stimulus, repetition) of the independent unit of every trial, -1 for none.

    Numbers count the units of each subject, region … from 0, in the natural order of labels.
    """
    n = reps.sizes["repetition"]
    if over == "repetition":
        labels = reps.indexes.get("repetition")
        rank = np.arange(n) if labels is None else natural_rank(labels)
        numbers = xr.DataArray(rank, dims="repetition")
    else:
        fitting = [
            str(key)
            for key, coord in reps.coords.items()
            if "repetition" in coord.dims and key != "repetition" and "feature" not in coord.dims
        ]
        if over not in fitting:
            there = reps.coords[over].dims if over in reps.coords else None
            raise SchemaError(
                f"{name}={over!r} must be a coordinate of {what} on 'repetition', or on 'stimulus' "
                "and 'repetition', that names the independent unit of every trial (its run, its "
                f"session); {f'it has the dims {list(there)}' if there is not None else ''}"
                f"{'; ' if there is not None else ''}there is {listing(fitting) or 'none'}"
            )
        coord = reps.coords[over]
        values = np.asarray(read(coord), dtype=object)
        # Zarr has no missing text, and writes an empty one in its place
        codes, names = pd.factorize(np.array([None if v == "" else v for v in values.flat], object))
        # the last of the ranks stands for none, whose code is -1
        ranks = np.append(natural_rank(list(names)), -1)[codes].reshape(values.shape)
        numbers = xr.DataArray(ranks, dims=coord.dims)
        numbers = numbers.transpose(..., *(d for d in TRIAL_DIMS if d in coord.dims))
        many = [numbers.sizes[d] for d in numbers.dims if d not in TRIAL_DIMS]
        for place in np.ndindex(*many):
            own = numbers.values[place]
            _, own[own >= 0] = np.unique(own[own >= 0], return_inverse=True)
    if "stimulus" not in numbers.dims:
        numbers = numbers.expand_dims(stimulus=reps.sizes["stimulus"])
    return numbers.transpose(..., "stimulus", "repetition")


TRIAL_DIMS = ("stimulus", "repetition")


def _noise(reps: xr.DataArray, noise: Any, what: str, tell: bool) -> tuple[str, list[xr.DataArray]]:
    """What the noise is called, and the covariance where it is given."""
    if noise is None:
        return "none", []
    if isinstance(noise, str):
        choose("noise", noise, kernels.ESTIMATED)
        if noise in SAME_TRIALS and tell:
            warnings.warn(
                f"noise={noise!r} takes the covariance of the noise from the trials that the "
                f"distances are made of, which biases them upwards: {BIAS[noise]}; use "
                "noise='shrinkage', which takes it from other stimuli",
                UserWarning,
                stacklevel=5,
            )
        return noise, []
    if not isinstance(noise, xr.DataArray | np.ndarray):
        raise TypeError(
            f"noise must be None, a covariance (feature, feature_2), or one of "
            f"{', '.join(kernels.ESTIMATED)}; got noise={came(noise)}"
        )
    size = reps.sizes["feature"]
    if isinstance(noise, np.ndarray):
        if noise.shape != (size, size):
            raise SchemaError(
                f"noise must be a covariance of the features, ({size}, {size}), got the shape "
                f"{noise.shape}; one for each model is a DataArray (model, feature, feature_2)"
            )
        noise = xr.DataArray(noise, dims=("feature", "feature_2"))
    noise = check_dims(noise, "feature", "feature_2", what="noise")
    other = [d for d in noise.dims if d not in ("feature_2", *reps.dims) or d in TRIAL_DIMS]
    if other:
        raise SchemaError(
            f"noise has the dims {listing(other)} too, along which there is one covariance alone; "
            f"it may have 'feature', 'feature_2' and further dims of {what}"
        )
    noise = _labelled(reps, noise, what)
    if not noise.sizes["feature"] == noise.sizes["feature_2"] == size:
        raise SchemaError(
            f"noise must have the {size} features of {what} along 'feature' and 'feature_2', it "
            f"has {noise.sizes['feature']} and {noise.sizes['feature_2']}"
        )
    return "given", [noise.reset_coords(drop=True).transpose(..., "feature", "feature_2")]


BIAS = {
    **dict.fromkeys(
        ("shrinkage_same_trials", "shrinkage_eye"),
        "by +34 % of the noise of plain distances at 60 stimuli × 4 repetitions × 100 features, "
        "+43 % at 20 × 4 × 50, +70 % at 92 × 2 × 100",
    ),
    "shrinkage_diag": "by +22 %, +26 % and +12 % of the noise of plain distances at 60 stimuli × 4 "
    "repetitions × 100 features, 20 × 4 × 50 and 92 × 2 × 100",
}
"""On data without a signal, as docs/calibration.md has it ("Distances without a signal")."""


def _labelled(reps: xr.DataArray, noise: xr.DataArray, what: str) -> xr.DataArray:
    """The covariance in the order of the labels of ``reps``: of models, features, further dims."""
    if "model" in noise.dims:
        cure = "give the covariance of every model, .sel(model=reps.model) leaves the others out"
        _, noise, _ = join_labels(reps, noise, "model", "exact", (what, "noise"), cure)
    noise = join_extra(reps, noise, (what, "noise"))
    cure = "give the covariance of these features, in any order"
    for dim in ("feature", "feature_2"):
        if dim in noise.indexes and "feature" in reps.indexes:
            named = reps["feature"].rename(feature=dim)
            _, noise, _ = join_labels(named, noise, dim, "exact", (what, "noise"), cure)
    return noise.drop_vars(["feature", "feature_2"], errors="ignore")


METRICS = {
    "crossnobis": Measure(
        None,
        per="stimulus pair",
        kind="distance",
        formula="mean over ordered pairs u ≠ v of repetitions of (x_i - x_j)_u Σ⁻¹ (x_i - x_j)_v, "
        "divided by the number of features; Σ the covariance of the noise (`noise=`). With missing "
        "repetitions G_ii + G_jj - 2 G_ij, G_ij the mean product of all trials of different units",
        range="-∞ to ∞; 0 on average where stimuli do not differ",
        chance="0: noise that is independent between repetitions adds nothing",
        invariant=("translation",),
        cost="with R repetitions (R + 1) / 2 matrix products n² d; one n d² a repetition for Σ",
        reference="Walther et al. (2016); Diedrichsen et al. (2020)",
        avoid="without at least 2 independent repetitions of each stimulus; where repetitions of "
        "one run share noise without `over='run'`. Unbiased distances do not make an unbiased "
        "correlation of RDMs",
    ),
}
"""Rows of the table of distances that need trials."""
