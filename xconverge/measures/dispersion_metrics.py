"""Three kinds of dispersion: of positions, around their mean, and of alignments of pairs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.blockwise import are_large
from xconverge.engine.long_entries import by_entries
from xconverge.engine.over_models import Merging, over_models
from xconverge.engine.pair import seen_of
from xconverge.engine.scores import of_models, of_stimuli, prepared_models
from xconverge.kernels import dispersion as kernels
from xconverge.kernels.kernel import EntryKernel, Kernel
from xconverge.kernels.vectors import METRICS, Array, Metric
from xconverge.labels.checks import rounding_of
from xconverge.labels.coordinates import carried
from xconverge.labels.joins import on_side, stimulus_rank


@dataclass(frozen=True)
class DispersionMetric(ABC):
    """A measure of dispersion: over all models, and of every pair of them."""

    @abstractmethod
    def mean(
        self, reps: xr.DataArray, normalize: bool, family: Array
    ) -> tuple[xr.DataArray, xr.DataArray]:
        """Over all pairs of families (…, stimulus), and how many of these saw the stimulus."""

    @abstractmethod
    def pairs(self, reps: xr.DataArray) -> xr.DataArray:
        """Of every pair (…, model, model_2, stimulus); an error where there are no pairs."""

    def pieces(self, reps: xr.DataArray) -> xr.DataArray:
        """What dispersion without some of the models is made of (…, model, model_2, stimulus)."""
        return self.pairs(reps)

    def of_pieces(
        self, pieces: Array, seen: Array, group: Array, family: Array
    ) -> tuple[Array, Array]:
        """Dispersion (M, n) without group and family of each model, and how many are left.

        ``seen`` (M, n) says which model saw what.
        """
        return kernels.without(pieces, seen, group, family)


@dataclass(frozen=True)
class Coordinates(DispersionMetric):
    """Mean distance over pairs of models of their vectors, position by position."""

    metric: Metric

    def mean(
        self, reps: xr.DataArray, normalize: bool, family: Array
    ) -> tuple[xr.DataArray, xr.DataArray]:
        """In one pass without pairs, where the distance is linear in squared distances."""
        finish = partial(kernels.of_pairs, metric=self.metric)
        return self.reduced(reps, normalize, family, finish, self.metric.degree)

    def reduced(
        self,
        reps: xr.DataArray,
        normalize: bool,
        family: Array,
        finish: Callable[..., Array],
        degree: int,
    ) -> tuple[xr.DataArray, xr.DataArray]:
        """What ``finish`` makes of sums, which grows with the scale of rows to this ``degree``."""
        rows: dict[str, Any] = {"metric": self.metric, "share": rounding_of(reps)}
        last: dict[str, Any] = {"finish": finish, "degree": degree, "normalize": normalize}
        whole: Callable[[Array], Array]
        whole = partial(kernels.mean_pair_distance, family=family, normalize=normalize, **rows)
        merging = None
        if self.metric.linear and len(set(family)) < len(family):
            whole = partial(kernels.of_families, family=family, **rows, **last)
        elif self.metric.linear:
            whole = partial(kernels.dispersion, **rows, **last)
            merging = Merging(
                partial(kernels.leaf, **rows),
                partial(kernels.merge, **rows),
                partial(kernels.dispersion_of, **last),
            )
        outputs = over_models(reps, whole, merging, {"_output": 2})
        return outputs.isel(_output=0), outputs.isel(_output=1)

    def pairs(self, reps: xr.DataArray) -> xr.DataArray:
        """All models of a block of stimuli are in memory."""
        size = reps.sizes["model"]
        kernel = partial(kernels.pair_distances, metric=self.metric, share=rounding_of(reps))
        pairs = over_models(reps, kernel, None, {"model": size, "model_2": size})
        return _with_both_models(pairs, reps)


@dataclass(frozen=True)
class Consensus(DispersionMetric):
    """Root of the summed squared distances to the mean over models, over M - 1."""

    def mean(
        self, reps: xr.DataArray, normalize: bool, family: Array
    ) -> tuple[xr.DataArray, xr.DataArray]:
        """In one pass."""
        squared = Coordinates(METRICS["sqeuclidean"])
        return squared.reduced(reps, normalize, family, kernels.of_consensus, 1)

    def pairs(self, reps: xr.DataArray) -> xr.DataArray:
        """There are none."""
        raise ValueError(
            "metric='consensus' measures models against their mean, it has no pairs; "
            "use 'euclidean' for pairs"
        )

    def pieces(self, reps: xr.DataArray) -> xr.DataArray:
        """Distances of pairs: Σ_m |x_m - z|² = Σ_{m<l} |x_m - x_l|² / M."""
        return Coordinates(METRICS["euclidean"]).pairs(reps)

    def of_pieces(
        self, pieces: Array, seen: Array, group: Array, family: Array
    ) -> tuple[Array, Array]:
        """Around the consensus of those that are left."""
        return kernels.without_consensus(pieces, seen, group, family)


@dataclass(frozen=True)
class Disagreement(DispersionMetric):
    """1 - mean over pairs of models of an alignment of theirs, each pair in its own pool."""

    kernel: Kernel[Any]

    def mean(
        self, reps: xr.DataArray, normalize: bool, family: Array
    ) -> tuple[xr.DataArray, xr.DataArray]:
        """From models that are prepared once."""
        of = xr.DataArray(family, dims="model")
        if self._in_blocks(reps):
            value, count = apply(
                kernels.mean_and_seen,
                self.pairs(reps),
                seen_of(reps),
                of,
                core=[["model", "model_2", "stimulus"], ["model", "stimulus"], ["model"]],
                out=[["stimulus"]] * 2,
                dtypes=[np.float64, np.int64],
            )
        else:
            value, count = apply(
                partial(kernels.mean_disagreement, kernel=self.kernel),
                self._models(reps),
                of,
                core=[["model"], ["model"]],
                out=[["stimulus"]] * 2,
                sizes={"stimulus": reps.sizes["stimulus"]},
                dtypes=[np.float64, np.int64],
            )
        return carried(value, of_stimuli(reps)), count

    def pairs(self, reps: xr.DataArray) -> xr.DataArray:
        """Of all pairs; a model with itself has none."""
        if isinstance(self.kernel, EntryKernel) and self._in_blocks(reps):
            alike = by_entries(self.kernel, reps)
        else:
            models = self._models(reps)
            bare = models.drop_vars([n for n, c in models.coords.items() if "model" in c.dims])
            one, other = (on_side(bare, "model", f"_{w}") for w in "ab")
            alike = of_models(self.kernel, one, other, reps.sizes["stimulus"])
        alike = alike.drop_vars(
            [n for n, c in alike.coords.items() if c.ndim and n not in reps.dims]
        )
        pairs = (1 - alike).rename(model_a="model", model_b="model_2")
        return carried(_with_both_models(pairs, reps), of_stimuli(reps))

    def _models(self, reps: xr.DataArray) -> xr.DataArray:
        return prepared_models(self.kernel, reps, stimulus_rank(reps))

    def _in_blocks(self, reps: xr.DataArray) -> bool:
        """Whether RDMs are too large for one task that compares all of them."""
        return isinstance(self.kernel, EntryKernel) and are_large(reps)


def _with_both_models(pairs: xr.DataArray, reps: xr.DataArray) -> xr.DataArray:
    """Pairs with the coordinates of their models on both dims."""
    models = reps["model"].drop_vars("n_features", errors="ignore")
    pairs = pairs.transpose(..., "model", "model_2", "stimulus")
    both = {**models.coords, **on_side(models, "model", "_2").coords}
    return carried(pairs, both)
