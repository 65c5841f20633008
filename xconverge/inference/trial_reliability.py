"""Would other trials have said the same? Reliability and ceilings of repeated measurements."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.pair import pairing_attrs
from xconverge.engine.resampling import seed_of
from xconverge.kernels import trial_reliability as kernels
from xconverge.kernels.noise_correction import LEAST_REPETITIONS, LEAST_STIMULI
from xconverge.kernels.vectors import Array
from xconverge.labels.arguments import check_seed, real, whole
from xconverge.labels.checks import check_dims, check_labels, check_only
from xconverge.labels.joins import join_labels
from xconverge.labels.messages import SchemaError, choose, listing
from xconverge.labels.variables import dataset_of, describe
from xconverge.measures.rdm import TOO_MANY_PAIRS
from xconverge.measures.trials import ModelTrials, trial_inputs

OF = ("rdm", "stimulus", "feature")
"""What a reliability may be of."""
HALVES = {
    "rdm": "correlation of the unbiased RDMs of both halves of the repetitions",
    "stimulus": "correlation over features of the patterns of both halves of the repetitions",
    "feature": "correlation over stimuli of the responses in both halves of the repetitions",
}
WHOLE = {
    "rdm": "share of the variance of the RDM of all repetitions that is not noise",
    "stimulus": "reliability of the mean pattern of all repetitions",
    "feature": "reliability of the mean responses in all repetitions",
}


def trial_reliability(
    reps: xr.DataArray,
    of: str = "rdm",
    *,
    unit: str = "repetition",
    noise: str | xr.DataArray | Array | None = None,
    bins: xr.DataArray | None = None,
    n_splits: int = 100,
    level: float = 0.95,
    rng: np.random.Generator | int | None = None,
) -> xr.Dataset:
    """Would one half of the trials have said the same as the other?

    Parameters
    ----------
    reps : DataArray
        (…, repetition, stimulus, feature), ``model`` may be there or not, and ``subject``,
        ``region``, ``time`` … are mapped over. A trial that is missing is a row of NaN.
    of : {"rdm", "stimulus", "feature"}
        The crossnobis RDM of all trials; the mean pattern of each stimulus over features; the mean
        response of each feature (voxel, unit) over stimuli.
    unit : str
        What is independent: ``"repetition"``, or a coordinate on it, or on ``stimulus`` and it,
        that names the run or the session of every trial. Halves are halves of units.
    noise : None, DataArray, array or str
        As in ``rdm``, for ``of="rdm"``.
    bins : DataArray, optional
        (stimulus), as ``dispersion_bins`` gives it: numbers from 0 on, below 0 for stimuli of none.
        The result is then for each bin: the RDM among its stimuli; the mean over its stimuli of
        what each has; each feature over its stimuli.
    n_splits : int
        Random splits of the units into halves, the smaller one rounded down. Where there are no
        more distinct splits than this, each is taken once: 1 for 2 units, 3 for 3 or 4, 10 for 5.
    level : float
        Level of the interval.
    rng : Generator, int or None
        Source of the splits; they follow the labels of the units, not their order.

    Returns
    -------
    Dataset
        ``half_correlation``, the mean over splits of the correlation r of both halves;
        ``reliability`` of all trials together, at most 1 and without a lower bound, an estimate;
        ``lower`` and ``upper``, ends of its confidence interval. (…) for ``rdm``, (…, stimulus) or
        (…, feature), NaN in features that are padding; with ``bins`` (…, bin) or
        (…, bin, feature). Lazy if ``reps`` is; a task holds all trials of one model, and three RDMs
        for ``rdm``.

    Warns
    -----
    RuntimeWarning
        Fewer than 2 units, 4 stimuli for ``rdm`` and ``feature``, or 4 features for ``stimulus``:
        NaN; and what does not vary. Two or three units for ``rdm``.

    Raises
    ------
    SchemaError
        No repetitions, no such coordinate, trials without a unit, faulty rows, ``bins`` that are
        not whole numbers of the same stimuli.
    TypeError
        ``noise`` for something else than ``rdm``.

    Notes
    -----
    *Patterns and responses.* Halves are means over their trials, less the mean over stimuli of the
    half: a pattern that all stimuli share would make all reliable. r is Pearson's, its mean over
    splits is stepped up once by Spearman–Brown, 2r / (1 + r) (Horst 1951 where halves differ by
    one). Stimuli drop out of splits in which a half lacks them; with unequal numbers of trials the
    value is for halves that are as large as those of the units. The interval is a jackknife: over
    stimuli for features and bins; over features for a single stimulus, which is too narrow where
    the noise of features is correlated, as in neighbouring voxels. It is for other stimuli
    (features), not for other trials.

    *RDMs.* Noise of unbiased distances falls faster than by the number of trials, so that
    Spearman–Brown does not hold. Reliability is the mean over splits of cov(D_1, D_2) / var D of
    the RDMs of both halves and of all trials: the share of var D that is not noise. Its root is the
    RSA (Pearson) that a right model without noise reaches, see ``trial_ceiling``. A half needs two
    units; with two or three in all, r is NaN, and noise is told from what units differ by: for
    stimuli i, j and units u, v the difference of plain distances (d_u - d_v) / 2 has no signal, and
    the variance of the noise of the crossnobis distance, if noise is normal, and as large in all
    units. The interval is a jackknife over stimuli. Plain distances (``rdm(reps,
    "sqeuclidean")`` of each repetition) are lifted by noise, and where stimuli differ in noise the
    lift is alike in all repetitions: it seems reliable geometry.

    Where the value of a pattern is ρ, nothing correlates with it by more than about √ρ.

    Spearman (1910), Brown (1910); Walther et al. (2016) for RDMs.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.standard_normal((20, 3)) @ rng.standard_normal((3, 30))
    >>> brain = xr.DataArray(truth + rng.standard_normal((6, 20, 30)),
    ...     dims=("repetition", "stimulus", "feature"),
    ...     coords={"stimulus": [f"s{i}" for i in range(20)]})
    >>> found = trial_reliability(brain)
    >>> bool(0.8 < found["lower"] < found["reliability"] < found["upper"] <= 1)
    True
    >>> trial_reliability(brain, "stimulus")["reliability"].dims
    ('stimulus',)
    >>> noise = xr.zeros_like(brain) + rng.standard_normal(brain.shape)
    >>> abs(float(trial_reliability(noise, "feature")["reliability"].mean())) < 0.3
    True
    """
    choose("of", of, OF)
    if noise is not None and of != "rdm":
        raise TypeError(f"noise goes with of='rdm', got of={of!r}; leave noise out")
    parts, told = _of_trials("trial_reliability", reps, of, unit, noise, bins, n_splits, level, rng)
    texts = {"half_correlation": HALVES[of], "reliability": WHOLE[of]}
    texts |= {end: f"{end} end of the interval of the reliability" for end in ("lower", "upper")}
    return dataset_of(
        {
            name: describe(part, name, of=of, **told).assign_attrs(long_name=texts[name])
            for name, part in zip(kernels.Reliability._fields, parts, strict=True)
        },
        of=of,
        **told,
    )


def trial_ceiling(
    reps: xr.DataArray,
    *,
    unit: str = "repetition",
    noise: str | xr.DataArray | Array | None = None,
    bins: xr.DataArray | None = None,
    n_splits: int = 100,
    level: float = 0.95,
    rng: np.random.Generator | int | None = None,
) -> xr.Dataset:
    """The RSA that a right model without noise has with the RDM of all trials.

    Parameters
    ----------
    reps : DataArray
        (…, repetition, stimulus, feature), at least two repetitions; ``subject``, ``region`` … are
        mapped over: a ceiling for each subject.
    unit, noise, bins, n_splits, level, rng
        As in ``trial_reliability``.

    Returns
    -------
    Dataset
        ``ceiling`` (…), or (…, bin), the Pearson RSA of the RDM without noise of *these* stimuli
        with ``rdm(reps, "crossnobis", noise=noise, over=unit)`` of *these* trials; ``lower`` and
        ``upper``, ends of its confidence interval, a jackknife over stimuli. In [-1, 1]; below 0
        the RDM need have no signal, with which a model correlates by chance alone. Lazy if ``reps``
        is.

    Warns
    -----
    RuntimeWarning
        Fewer than 2 units or 4 stimuli: NaN. Two or three units, whose noise must be normal.

    Raises
    ------
    SchemaError
        As ``trial_reliability``.

    Notes
    -----
    The root of ``trial_reliability(reps, "rdm")``, with the sign of what is under it. With four
    units and more it is √(cov(D_1, D_2) / var D) of halves and of the whole, with two and three
    √((var D - noise) / var D). With ``noise`` the truth is in the same metric: what an estimated
    covariance is off by counts as geometry, and model RDMs are seldom whitened. Interval ends hold
    the truth in at least 95 of 100 simulated sets of 2 to 8 repetitions, also where noise grows
    over stimuli (docs/calibration.md). Ranks have another ceiling: compare by Pearson.

    With subjects there are two ceilings: this one is that of a model of each subject; that of one
    model of all of them is ``noise_ceiling(rdm(reps, "crossnobis"), "pearson")``, which has what
    subjects differ in too.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.standard_normal((20, 3)) @ rng.standard_normal((3, 30))
    >>> brain = xr.DataArray(truth + 2 * rng.standard_normal((4, 20, 30)),
    ...     dims=("repetition", "stimulus", "feature"),
    ...     coords={"stimulus": [f"s{i}" for i in range(20)]})
    >>> from xconverge import rdm, rsa
    >>> model = rdm(brain[0].drop_vars("stimulus").copy(data=truth)
    ...     .assign_coords(stimulus=brain.stimulus), "sqeuclidean")
    >>> reached = float(rsa(model, rdm(brain, "crossnobis"), "pearson"))
    >>> found = trial_ceiling(brain)
    >>> bool(found["lower"] < reached < found["upper"])
    True
    """
    parts, told = _of_trials("trial_ceiling", reps, "rdm", unit, noise, bins, n_splits, level, rng)
    roots = apply(_roots, *parts, core=[[]] * 4, out=[[]] * 3, dtypes=[np.float64] * 3)
    texts = {end: f"{end} end of the interval of the ceiling" for end in ("lower", "upper")}
    texts["ceiling"] = "RSA of a right model without noise with the RDM of all repetitions"
    return dataset_of(
        {
            name: describe(part, name, **told).assign_attrs(long_name=texts[name])
            for name, part in zip(("ceiling", "lower", "upper"), roots, strict=True)
        },
        **told,
    )


def _roots(*parts: Array) -> tuple[Array, Array, Array]:
    return kernels.ceiling(kernels.Reliability(*parts))


def _of_trials(
    call: str,
    reps: xr.DataArray,
    of: str,
    unit: str,
    noise: Any,
    bins: xr.DataArray | None,
    n_splits: int,
    level: float,
    rng: Any,
) -> tuple[Sequence[xr.DataArray], dict[str, Any]]:
    """The four numbers of ``kernels.Reliability``, and what attrs say."""
    whole("n_splits", n_splits, 1)
    real("level", level, above=0, below=1)
    check_seed(rng)
    reps = check_dims(reps, "stimulus", "feature", what="reps")
    check_labels(reps, "stimulus", what="reps")
    if "model" in reps.dims:
        check_labels(reps, "model", what="reps")
    inputs = trial_inputs(reps, noise, unit, "reps", "unit")
    numbers, n_bins = ([], 0) if bins is None else _bins(bins, reps)
    told, seed = seed_of(rng)
    asked = _Asked(call, of, unit, n_bins, n_splits, level, seed)
    of_bin = [] if bins is None else ["bin"]
    of_each = [of] if of == "feature" or (of == "stimulus" and bins is None) else []
    parts = inputs.on_each_model(
        partial(_reliability, asked=asked, n_features=reps.sizes["feature"]),
        *numbers,
        core=[["stimulus"] for _ in numbers],
        out=[[*of_bin, *of_each]] * 4,
        sizes={"bin": n_bins},
        dtypes=[np.float64] * 4,
        cure=TOO_MANY_PAIRS,
    )
    return parts, {
        "rdm_metric": "crossnobis" if of == "rdm" else None,
        "noise": inputs.noise if of == "rdm" else None,
        "unit": unit,
        "modality": reps.attrs.get("modality"),
        "n_repetitions": reps.sizes["repetition"],
        "n_splits": n_splits,
        "level": level,
        "seed": told,
        **pairing_attrs(reps, *([] if bins is None else [bins])),
    }


def _bins(bins: xr.DataArray, reps: xr.DataArray) -> tuple[list[xr.DataArray], int]:
    """Numbers of bins of the stimuli of ``reps``, in their order, and how many bins there are."""
    bins = check_only(bins, "stimulus", what="bins")
    if bins.dtype.kind not in "iu":
        raise SchemaError(
            f"bins must be whole numbers, 0 for the first bin, got {bins.dtype}; "
            "dispersion_bins(dispersion, n_bins=3) makes them"
        )
    cure = "bins of the same stimuli, dispersion_bins(dispersion.sel(stimulus=reps.stimulus))"
    _, bins, _ = join_labels(reps, bins, "stimulus", "exact", ("reps", "bins"), cure)
    bins = bins.compute().reset_coords(drop=True)
    if not (bins >= 0).any():
        raise SchemaError("bins puts no stimulus into a bin: all numbers are below 0")
    return [bins], int(bins.max()) + 1


class _Asked(NamedTuple):
    """What is asked of every model; ``n_bins`` is 0 where stimuli are in no bins."""

    call: str
    of: str
    unit: str
    n_bins: int
    n_splits: int
    level: float
    seed: int

    def shape(self, one: ModelTrials) -> tuple[int, ...]:
        """Of each of the four numbers, without features that are padding."""
        of_bin = (self.n_bins,) if self.n_bins else ()
        if self.of == "feature":
            return (*of_bin, one.trials.rows.shape[2])
        if self.of == "stimulus":
            return of_bin or (len(one.stimuli),)
        return of_bin


def _reliability(
    one: ModelTrials, *bins: Array, asked: _Asked, n_features: int
) -> tuple[Array, ...]:
    """The four numbers of the trials of one model, whose troubles are told by name."""
    shape = asked.shape(one)
    count = kernels.n_units(one.trials, one.units)
    options: dict[str, Any] = {
        "bins": bins[0] if bins else None, "n_bins": asked.n_bins, "seed": asked.seed,
        "n_splits": asked.n_splits, "level": asked.level,
    }  # fmt: skip
    if count < kernels.LEAST_UNITS:
        _warn(
            f"{asked.call}{one.where} needs at least 2 independent measurements (by "
            f"{asked.unit!r}), there {'is' if count == 1 else 'are'} {count}: NaN"
        )
        result = kernels.Reliability.nothing(shape)
    elif asked.of == "rdm":
        if count < LEAST_REPETITIONS:
            _warn_few(asked, one, count)
        result = kernels.rdms(one.trials, one.units, one.noise, one.folds, **options)
        _tell(asked, one, result.reliability, np.ones(shape, bool))
    else:
        result = kernels.patterns(one.trials, one.units, asked.of, **options)
        # of a stimulus that was not measured there is nothing to tell
        measured = one.trials.seen.any(1) if asked.of == "stimulus" and not bins else True
        _tell(asked, one, result.reliability, np.broadcast_to(measured, shape))
    if asked.of == "feature":
        # models of other widths are as long: what is not there is NaN
        padding = [(0, 0)] * (len(shape) - 1) + [(0, n_features - shape[-1])]
        return tuple(np.pad(part, padding, constant_values=np.nan) for part in result)
    return tuple(result)


def _warn_few(asked: _Asked, one: ModelTrials, count: int) -> None:
    """Warn of the RDMs of so few units that halves have none."""
    r = "half_correlation is NaN, and " if asked.call == "trial_reliability" else ""
    _warn(
        f"{asked.call}{one.where}: halves of {count} independent measurements (by "
        f"{asked.unit!r}) have no unbiased RDM, {LEAST_REPETITIONS} are needed; {r}noise is told "
        "from what these differ by, which holds for normal noise of one size in all of them"
    )


def _tell(asked: _Asked, one: ModelTrials, value: Array, there: Array) -> None:
    """Warn of what has no reliability, though there are trials of it."""
    gone = np.isnan(value) & there
    if not gone.any():
        return
    over = "features" if asked.of == "stimulus" else "stimuli"
    inside = f" in bin {listing(np.unique(np.nonzero(gone)[0]))}" if asked.n_bins else ""
    some = "it has"
    if gone.ndim and not asked.n_bins:
        many = "stimuli" if asked.of == "stimulus" else f"{asked.of}s"
        some = f"{gone.sum():,} of {there.sum():,} {many} have"
    _warn(
        f"{asked.call}{one.where}{inside}: {some} fewer than {LEAST_STIMULI} {over} in both "
        "halves of every split, or values that do not vary there: NaN"
    )


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=3)
