"""RSA of trials as it would be without measurement noise, bin by bin."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import scipy
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.names import names_along
from xconverge.engine.names import place as place_of
from xconverge.inference.trial_reliability import trial_ceiling
from xconverge.kernels import noise_correction as kernels
from xconverge.kernels.split_half import halves as split_halves
from xconverge.kernels.vectors import Array
from xconverge.labels.joins import on_side
from xconverge.measures.rdm import make_rdm, rdms_of
from xconverge.measures.trials import units_of

SPLIT, HALF = "_split", "_half"


def are_trials(target: Any) -> bool:
    """Whether there are repeated measurements of features."""
    return {"repetition", "feature"} <= set(getattr(target, "dims", ()))


def trials_or_rdms(target: xr.DataArray, metric: str) -> xr.DataArray:
    """Trials as they are, else RDMs: of representations, made by ``metric``."""
    return target if are_trials(target) else rdms_of(target, metric)


def trials_of(target: xr.DataArray, noise: Any, unit: str) -> Trials | None:
    """The trials of a target, or None for RDMs, with which ``noise`` and ``unit`` do not go."""
    if are_trials(target):
        return Trials(target, noise, unit)
    if (noise, unit) != (None, "repetition"):
        raise TypeError(
            "noise and unit are of trials: target needs the dims 'repetition' and 'feature', it "
            f"has {list(map(str, target.dims))}"
        )
    return None


class Trials(NamedTuple):
    """Repeated measurements (…, repetition, stimulus, feature), and how their RDMs are made.

    ``noise`` and ``unit`` are ``noise`` and ``over`` of ``rdm``.
    """

    reps: xr.DataArray
    noise: Any
    unit: str

    def rdm(self, half: bool = False) -> xr.DataArray:
        """Of all trials, or of a half of them, which does not warn again of what all have told."""
        what = "half of the repetitions of target" if half else "target"
        return make_rdm(
            self.reps, "crossnobis", what,
            noise=self.noise, over=self.unit, over_name="unit", tell=not half,
        )  # fmt: skip

    def attrs(self, whole: xr.DataArray) -> dict[str, Any]:
        """What results say of how ``whole``, the RDM of all trials, was made."""
        return {
            "target_rdm_metric": "crossnobis", "noise": whole.attrs["noise"], "unit": self.unit,
        }  # fmt: skip

    def units(self) -> tuple[xr.DataArray, int]:
        """Number (…, stimulus, repetition) of the independent unit of every trial, -1 for none.

        And how many units the subject or region has that has most.
        """
        numbers = units_of(self.reps, self.unit, "target", "unit")
        return numbers, int(numbers.values.max(initial=-1)) + 1

    def halves(self, n_splits: int, seed: int, sets: Sequence[Array]) -> list[xr.DataArray] | None:
        """RDMs (split, half, …) of both halves among sets of stimuli; None for fewer than 4 units.

        Of each half the RDM of all stimuli is made, whose trials tell the noise, and cut at once:
        those of all halves together are many times what is given.
        """
        units, count = self.units()
        if count < kernels.LEAST_REPETITIONS:
            warnings.warn(
                f"RSA without measurement noise needs {kernels.LEAST_REPETITIONS} independent "
                f"repetitions, two in each half; there are {count} (by {self.unit!r}): NaN",
                RuntimeWarning,
                stacklevel=4,
            )
            return None
        inside = split_halves(np.arange(count), seed, n_splits)
        # stimuli that one half lacks are left out of that split; the whole RDM has told of them
        each: list[list[xr.DataArray]] = [[] for _ in sets]
        for first in inside:
            both = [self._among(units, half).rdm(half=True) for half in (first, ~first)]
            for found, chosen in zip(each, sets, strict=True):
                cut = {"stimulus": chosen, "stimulus_2": chosen}
                parts = [rdm.isel(cut) for rdm in both]
                found.append(xr.concat(parts, HALF, coords="minimal", compat="override"))
        return [xr.concat(found, SPLIT, coords="minimal", compat="override") for found in each]

    def _among(self, units: xr.DataArray, chosen: Array) -> Trials:
        mine = units.copy(data=chosen[units.values] & (units.values >= 0))
        if self.unit == "repetition":
            inside = mine.isel(stimulus=0).values
            return self._replace(reps=self.reps.isel(repetition=np.flatnonzero(inside)))
        return self._replace(reps=self.reps.where(mine))


def corrected_bins(
    models: xr.DataArray,
    whole: xr.DataArray,
    trials: Trials,
    bins: Array,
    n_bins: int,
    n_splits: int,
    seed: int,
    level: float,
) -> tuple[dict[str, xr.DataArray], xr.DataArray]:
    """What trials tell of every bin, and the corrected RSA without each stimulus.

    ``models`` and ``whole``, that of all trials, are RDMs over the stimuli of ``bins`` (n). The
    second is (bin, …, stimulus).
    """
    members = [np.flatnonzero(bins == number) for number in range(n_bins)]
    halves = trials.halves(n_splits, seed, members)
    _, count = trials.units()
    each = []
    for number, inside in enumerate(members):
        block = {"stimulus": inside, "stimulus_2": inside}
        found = _in_bin(
            models.isel(block),
            whole.isel(block),
            # of bins that equal dispersions have merged, the warning of the bins has told
            on_side(halves[number], "model", "_b") if halves and len(inside) else None,
            number,
            count,
            level,
        )
        each.append(
            xr.Dataset(
                {name: part.drop_vars("bin", errors="ignore") for name, part in found.items()}
            )
        )
    # bins hold other stimuli: what is told without each of them is NaN outside its bin
    table = xr.concat(
        [one.reindex(stimulus=whole.indexes["stimulus"]) for one in each], "bin",
        coords="minimal", compat="override", join="exact",
    )  # fmt: skip
    parts = {str(name): part for name, part in table.data_vars.items()}
    if halves is not None and isinstance(trials.noise, str):
        told = parts["ceiling"]
        right = on_side(_ceiling(trials, bins, n_splits, seed), "model", "_b")
        right = right.reindex(bin=range(n_bins)).drop_vars("bin")
        parts["ceiling"] = right.transpose(*told.dims).where(told.notnull())
    return parts, parts.pop("without")


def ceilings(
    whole: xr.DataArray, trials: Trials, members: xr.DataArray, n_splits: int, seed: int
) -> xr.DataArray:
    """Ceiling (…) of a true model without noise among each set of stimuli, NaN for none.

    ``whole`` is the RDM (…, stimulus, stimulus_2) of all trials, ``members`` are (…, stimulus).
    In memory.
    """
    halves = trials.halves(n_splits, seed, [np.arange(whole.sizes["stimulus"])])
    if halves is None:
        return members.any("stimulus") * _nowhere(whole)
    found: xr.DataArray = apply(
        _ceiling_among, *halves, whole, members,
        core=[[SPLIT, HALF, "stimulus", "stimulus_2"], ["stimulus", "stimulus_2"], ["stimulus"]],
    )  # fmt: skip
    found = found.compute()
    if not isinstance(trials.noise, str):
        return found
    # subsets overlap, bins do not: each is asked for as the only bin
    known: dict[bytes, xr.DataArray] = {}
    rows = members.stack(_row=[dim for dim in members.dims if dim != "stimulus"])
    each = []
    for inside in rows.transpose("_row", "stimulus").values:
        key = inside.tobytes()
        if key not in known:
            known[key] = _ceiling(trials, np.where(inside, 0, -1), n_splits, seed).isel(bin=0)
        each.append(known[key])
    right = xr.concat(each, "_row", coords="minimal", compat="override")
    # numbers that stacking made are no labels
    right = right.assign_coords(rows["_row"].coords).unstack("_row")
    right = right.drop_vars(set(right.coords) - set(found.coords))
    return right.compute().transpose(*found.dims).where(found.notnull())


def _ceiling_among(halves: Array, whole: Array, members: Array) -> float:
    inside = np.flatnonzero(members)
    found = kernels.halves_of(halves[:, :, inside][..., inside], whole[np.ix_(inside, inside)])
    return found.ceiling if found.enough else np.nan


def _ceiling(trials: Trials, bins: Array, n_splits: int, seed: int) -> xr.DataArray:
    """Ceilings (bin, …) of bins (n), with one covariance of the noise for halves and whole.

    Halves that have their own, of fewer trials, are on a larger scale, and so is their covariance.
    """
    of = trials.reps["stimulus"].reset_coords(drop=True)
    with warnings.catch_warnings():
        # what halves have too few stimuli for is told already
        warnings.simplefilter("ignore")
        found = trial_ceiling(
            trials.reps, unit=trials.unit, noise=trials.noise, bins=of.copy(data=bins),
            n_splits=n_splits, rng=seed,
        )["ceiling"]  # fmt: skip
    return found.assign_coords(bin=range(found.sizes["bin"])).drop_attrs()


CORRECTED = (
    "rsa_corrected", "rsa_corrected_standard_error", "rsa_corrected_lower", "rsa_corrected_upper",
)  # fmt: skip


def _in_bin(
    models: xr.DataArray,
    whole: xr.DataArray,
    halves: xr.DataArray | None,
    number: int,
    count: int,
    level: float,
) -> dict[str, xr.DataArray]:
    if halves is None:
        return _nothing(models, whole)
    lead = [str(dim) for dim in whole.dims if dim not in ("stimulus", "stimulus_2")]
    square = ["stimulus", "stimulus_2"]
    correlation, error, ceiling, r_without = apply(
        partial(_halves, lead=lead, place=f" in bin {number}", count=count),
        halves, whole, *(names_along(whole, dim) for dim in lead),
        core=[[SPLIT, HALF, *square], square, *([] for _ in lead)],
        out=[[], [], [], ["stimulus"]], dtypes=[np.float64] * 4,
    )  # fmt: skip
    value, *ends, without = apply(
        partial(_corrected, level=level),
        models, halves, correlation, error, ceiling, r_without,
        core=[square, [SPLIT, HALF, *square], [], [], [], ["stimulus"]],
        out=[[], [], [], [], ["stimulus"]], dtypes=[np.float64] * 5,
    )  # fmt: skip
    return {
        **dict(zip(CORRECTED, (value, *ends), strict=True)),
        "split_half": correlation,
        "ceiling": ceiling,
        "without": without,
    }


def _nothing(models: xr.DataArray, whole: xr.DataArray) -> dict[str, xr.DataArray]:
    """What `_in_bin` tells where there are no halves."""
    one, of_target = (_nowhere(rdm) for rdm in (models, whole))
    pair = one * of_target
    lone = dict.fromkeys(("split_half", "ceiling"), of_target)
    without = pair.expand_dims(stimulus=models.indexes["stimulus"])
    return dict.fromkeys(CORRECTED, pair) | lone | {"without": without}


def _nowhere(rdm: xr.DataArray) -> xr.DataArray:
    """NaN (…) for every RDM, of no stimuli too."""
    return xr.full_like(rdm.sum(["stimulus", "stimulus_2"]), np.nan, np.float64)


def untold(models: xr.DataArray, rdms: xr.DataArray, n_bins: int) -> dict[str, xr.DataArray]:
    """NaN for RDMs (…, repetition, stimulus, stimulus_2), with what would be needed."""
    warnings.warn(
        "RSA without measurement noise needs the trials themselves, of at least "
        f"{kernels.LEAST_REPETITIONS} independent repetitions; target holds the RDMs of "
        f"{rdms.sizes['repetition']} repetitions, which their own noise has lifted: NaN",
        RuntimeWarning,
        stacklevel=3,
    )
    found = _nothing(models, rdms.isel(repetition=0, drop=True))
    return {
        name: found[name].expand_dims(bin=np.arange(n_bins)).drop_vars("bin")
        for name in (*CORRECTED, "split_half", "ceiling")
    }


def _halves(
    halves: Array, whole: Array, *names: Any, lead: Sequence[str], place: str, count: int
) -> tuple[float, float, float, Array]:
    found = kernels.halves_of(halves, whole)
    if np.isnan(found.correlation):
        warnings.warn(
            f"RSA without measurement noise{place_of(lead, names)}{place} needs at least "
            f"{kernels.LEAST_STIMULI} stimuli with 2 independent repetitions in each half, and "
            f"distances that differ; of {len(whole)} stimuli at most "
            f"{kernels.common(halves)} have them in one split of the {count} repetitions: NaN",
            RuntimeWarning,
            stacklevel=2,
        )
    elif not found.enough:
        warnings.warn(
            f"RSA without measurement noise{place_of(lead, names)}{place}: the halves of the "
            f"repetitions correlate by {found.correlation:.2f} (error {found.error:.2f}), too "
            f"little to correct by; it must be {kernels.LEAST_RELIABILITY:g} and an error, and "
            f"{kernels.LEAST_ERRORS:g} errors, {_wanted(found, count)}: NaN",
            RuntimeWarning,
            stacklevel=2,
        )
    ceiling = found.ceiling if found.enough else np.nan
    return found.correlation, found.error, ceiling, found.without


def _wanted(found: kernels.Halves, count: int) -> str:
    """About how many repetitions would do: signal over noise of a distance grows with them."""
    least = min(found.least, 0.9)
    if not found.correlation > 0:
        return "and how many repetitions that takes cannot be told from these"
    share = (least / (1 - least)) / (found.correlation / (1 - found.correlation))
    return f"which takes some {int(np.ceil(count * share)):,} repetitions like these {count}"


def _corrected(
    model: Array, halves: Array, correlation: float, error: float, ceiling: float, without: Array,
    *, level: float,
) -> tuple[float, float, float, float, Array]:  # fmt: skip
    found = kernels.Halves(float(correlation), float(error), float(ceiling), without)
    value, left = kernels.corrected(model, halves, found)
    error = kernels.error_of(left)
    used = int((~np.isnan(left)).sum())
    reach = float(scipy.special.stdtrit(max(used - 1, 1), (1 + level) / 2)) * error
    return value, error, value - reach, value + reach, left
