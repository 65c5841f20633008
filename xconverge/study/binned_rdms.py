"""Model and target RDMs, and the bins of dispersion that they are compared in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr

from xconverge.engine.families import family_mean
from xconverge.engine.names import names_along, side_names, tell_pairs
from xconverge.engine.names import place as place_of
from xconverge.engine.pair import pairing_attrs
from xconverge.engine.rdms import told_missing
from xconverge.kernels.vectors import Array
from xconverge.labels.arguments import whole
from xconverge.labels.checks import check_only, check_representations, check_shared
from xconverge.labels.joins import join_all, join_extra, on_side
from xconverge.labels.messages import choose
from xconverge.measures.rdm import DISTANCES, bare_rdm, prepared_rows, rdm
from xconverge.measures.rsa import METHODS
from xconverge.study.bins import dispersion_bins
from xconverge.study.noise_correction import Trials, trials_of, trials_or_rdms

Average = Literal["rdm", "representation"]


class BinnedRdms(NamedTuple):
    """Model and target RDMs, dispersion and its bins over the same stimuli.

    Where ``inside`` makes the model RDM of some stimuli, ``models`` is one of two, for its labels.
    """

    models: xr.DataArray
    target: xr.DataArray
    spread: xr.DataArray
    bins: xr.DataArray
    geometry: tuple[xr.DataArray, xr.DataArray]
    attrs: dict[str, Any]
    trials: Trials | None
    inside: Callable[[Array], xr.DataArray] | None

    @property
    def extra(self) -> list[str]:
        """Dims that are neither models nor stimuli."""
        known = ("model_a", "model_b", "stimulus", "stimulus_2")
        dims = dict.fromkeys((*self.models.dims, *self.target.dims))
        return [str(dim) for dim in dims if dim not in known]

    @property
    def names(self) -> list[xr.DataArray]:
        """Of both models and along the extra dims, to travel with the blocks."""
        sides = ((self.models, "model_a"), (self.target, "model_b"))
        where = [self.models if dim in self.models.dims else self.target for dim in self.extra]
        return [
            *(side_names(side, dim) for side, dim in sides),
            *(names_along(side, dim) for side, dim in zip(where, self.extra, strict=True)),
        ]


def told_by_name(*args: Any, kernel: Any, extra: list[str], place: str = "", **options: Any) -> Any:
    """A kernel on all but the names, which it tells what has no RSA by."""
    *arrays, a, b = args[: len(args) - len(extra)]
    where = place + place_of(extra, args[len(args) - len(extra) :])
    return kernel(*arrays, **options, tell=partial(tell_pairs, [a], [b], where))


def binned_rdms(
    reps: xr.DataArray,
    target: xr.DataArray,
    dispersion: xr.DataArray,
    n_bins: int,
    average: Average | None,
    rdm_metric: str,
    method: str,
    trials: tuple[Any, str],
    in_bins: bool = False,
) -> BinnedRdms:
    """What ``binned_rsa`` and its contrasts are of; ``trials`` are the noise and unit of trials.

    With ``in_bins`` the model RDM may be made of the stimuli of each bin alone.
    """
    choose("method", method, METHODS)
    choose("rdm_metric", rdm_metric, DISTANCES)
    whole("n_bins", n_bins, 2)
    if average is not None:
        choose("average", average, ["rdm", "representation"])
    reps = check_representations(reps)
    spread = check_only(dispersion, "stimulus", what="dispersion")
    target = trials_or_rdms(target, rdm_metric)
    attrs = {
        "metric": method, "rdm_metric": rdm_metric, "average": average or "none",
        "dispersion_metric": dispersion.attrs.get("metric"),
        **pairing_attrs(reps, target, dispersion),
    }  # fmt: skip
    if average == "representation":
        check_shared(reps, "average='representation'")
    (reps, spread, target), _ = join_all("exact", reps=reps, dispersion=spread, target=target)
    target = join_extra(reps, target, ("reps", "target"))
    measured = trials_of(target, *trials)
    if measured is not None:
        target = measured.rdm()
        attrs |= measured.attrs(target)
    spread = spread.compute()
    bins = dispersion_bins(spread, n_bins)
    attrs |= {"n_bins": n_bins, "merged_bins": bins.attrs.get("merged_bins")}
    model = _ModelRdm(reps, average, rdm_metric)
    if in_bins and measured is None and reps.chunks is None:
        # of ten bins a tenth of the RDM is looked at
        model.check_rows()
        models, inside = model.inside(np.arange(min(2, reps.sizes["stimulus"]))), model.inside
    else:
        models, inside = model.whole(), None
    return BinnedRdms(
        models,
        on_side(target, "model", "_b"),
        spread,
        bins,
        (reps, target),
        attrs,
        measured,
        inside,
    )


class _ModelRdm(NamedTuple):
    """How the model RDM, or those of all models, are made."""

    reps: xr.DataArray
    average: Average | None
    metric: str

    def whole(self) -> xr.DataArray:
        """Of all stimuli, as a side."""
        models = rdm(self._averaged(self.reps), self.metric)
        if self.average == "rdm":
            # the mean of fewer models than were given is said to be one
            models = family_mean(told_missing(models, "the mean RDM of reps"), ["model"])
        return on_side(models, "model", "_a")

    def inside(self, where: Array) -> xr.DataArray:
        """Of these stimuli, as a side."""
        some = self._averaged(self.reps.isel(stimulus=where))
        models = bare_rdm(some, DISTANCES[self.metric].make)
        if self.average == "rdm":
            models = family_mean(models, ["model"])
        return on_side(models, "model", "_a")

    def check_rows(self) -> None:
        """What making the RDM of all stimuli would say of their rows."""
        prepared_rows(self._averaged(self.reps), self.metric)
        if self.average == "rdm":
            saw = self.reps.notnull().any(["stimulus", "feature"])
            saw = saw.drop_vars([name for name in saw.coords if name != "model"])
            gone = saw.astype(np.float64).where(saw).expand_dims(stimulus=1, stimulus_2=1)
            told_missing(gone, "the mean RDM of reps")

    def _averaged(self, reps: xr.DataArray) -> xr.DataArray:
        return family_mean(reps, ["model"]) if self.average == "representation" else reps
