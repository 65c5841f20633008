"""Do maps of dispersion and of alignment go together? All that is said of one set of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xconverge.kernels.crossed import crossed, influence
from xconverge.kernels.groups import alike_rows, pair_numbers
from xconverge.kernels.nulls import Orders, Permuted, Stimuli
from xconverge.kernels.ranks import Correlated, bin_means, rank_correlations
from xconverge.kernels.related_maps import (
    Fields,
    Related,
    morans,
    related,
    usable_of,
)
from xconverge.kernels.vectors import Array

OF_MEAN = "_of_mean"
"""Suffix of what is said of the mean alignment over pairs."""


@dataclass(frozen=True)
class Settings:
    """How the tests are made: a null by name, draws, tail; the level of the interval."""

    null: str
    n_bins: int
    n_draws: int
    seed: int
    tail: str
    level: float


@dataclass(frozen=True)
class Predictors:
    """Dispersion (X, n), its bins and covariates (X, c, n), of stimuli in the order of labels."""

    maps: Array
    bins: Array
    covariates: Array
    stimuli: Stimuli
    fields: Fields | None
    orders: Orders | None
    settings: Settings

    def correlated(self, rows: Array, which: Array, family: Array) -> Correlated:
        """Rank correlations of alignment (R, n) with their row of dispersion, and their draws."""
        how = self.settings
        return rank_correlations(
            self.maps,
            rows,
            which,
            self.covariates,
            self.orders or Permuted(self.stimuli.order, how.seed),
            self.stimuli.strata,
            how.n_draws if self.orders is not None else 0,
            how.tail,
            family,
        )

    def table(self, rows: Array, which: Array, family: Array) -> dict[str, Array]:
        """What there is to say of alignment (R, n), the row of dispersion of each by ``which``."""
        how = self.settings
        plain = self.correlated(rows, which, family)
        table = {
            "correlation": plain.correlation,
            "p_value": plain.p_value,
            "n_stimuli": plain.n_stimuli,
            "moran_i": morans(rows, self.stimuli.likeness),
            "alignment_by_bin": np.stack(
                [
                    bin_means(row, self.bins[i], how.n_bins)
                    for i, row in zip(which, rows, strict=True)
                ]
            ),
            "mean_correlation": np.asarray(plain.mean),
            "mean_p_value": np.asarray(plain.p_value_of_mean),
            "_draws": plain.draws,
            "_mean_draws": plain.draws_of_mean,
        }
        if how.null == "mixed" and self.fields is not None:
            # the constant covariate is a fixed effect of its own
            fixed = self.covariates[:, 1:]
            each, together = related(
                self.fields, self.maps, rows, which, fixed, how.tail, how.n_draws, how.seed, family
            )
            table |= _of_mixed(each) | {
                "mean_p_value": together.p_value[0],
                "_mean_draws": together.draws_alignment[:, 0],
                "_mean_draws_dispersion": together.draws_dispersion[:, 0],
            }
        else:
            table["n_effective"] = self._n_effective(rows, which)
        return table

    def interval(
        self, correlation: Array, rows: Array, which: Array, of: tuple[Array, Array]
    ) -> dict[str, Array]:
        """The mean correlation's error and ends, over stimuli and the models of both sides."""
        added = influence(self.maps, rows, which, self.covariates)
        used = np.flatnonzero(np.isfinite(added).any(0))
        size = self.fields.n_effective(used) if self.fields is not None else float(len(used))
        shape = len(of[0]), len(of[1])
        found = crossed(
            correlation.reshape(shape),
            added.reshape(*shape, -1),
            size,
            *of,
            level=self.settings.level,
        )
        names = ("standard_error", "lower", "upper")
        return {
            f"mean_correlation_{name}": np.asarray(getattr(found, name.removeprefix("standard_")))
            for name in names
        }

    def _n_effective(self, rows: Array, which: Array) -> Array:
        result = np.full(len(rows), np.nan)
        if self.fields is not None:
            usable = usable_of(self.maps, rows, which, self.covariates)
            for alike in alike_rows(usable, np.zeros(len(rows), np.int64)):
                result[alike] = self.fields.n_effective(np.flatnonzero(usable[alike[0]]))
        return result


def _of_mixed(found: Related) -> dict[str, Array]:
    return {
        "p_value": found.p_value,
        "n_effective": found.n_effective,
        "t_alignment": found.t_alignment,
        "t_dispersion": found.t_dispersion,
        "p_value_alignment": found.p_alignment,
        "p_value_dispersion": found.p_dispersion,
        "_draws": found.draws_alignment,
        "_draws_dispersion": found.draws_dispersion,
    }


def modulations(
    dispersion: Array,
    bins: Array,
    scores: Array,
    mean: Array,
    covariates: Array,
    of_a: Array,
    of_b: Array,
    *structure: Array,
    names: Sequence[str],
    n_squares: int,
    settings: Settings,
) -> tuple[Any, ...]:
    """What ``modulation`` says, in the order of ``names``.

    Parameters
    ----------
    dispersion, bins : arrays ([A, ]n)
    scores : array ([A, ][B, ]n)
        Alignment of every pair.
    mean : array (n)
        Their mean.
    covariates : array ([A, ]c, n)
        The first is a constant.
    of_a, of_b : int arrays (A) and (B)
        Families of the models; one where a side has no models.
    *structure : arrays
        What `Stimuli.of` takes.
    names : sequence of str
        With OF_MEAN for what is said of ``mean``, which needs a dispersion (n).
    """
    shape = scores.shape[:-1]
    stimuli = Stimuli.of(structure, n_squares)
    # in the order of labels, so that the order of rows changes no digit
    own, own_bins, rows, mean, fixed = (
        part[..., stimuli.order]
        for part in (
            np.atleast_2d(dispersion),
            np.atleast_2d(bins),
            scores.reshape(-1, scores.shape[-1]),
            mean,
            covariates.reshape(-1, *covariates.shape[-2:]),
        )
    )
    fields = None
    null, seed = settings.null, settings.seed
    if null == "mixed" or n_squares:
        fields = Fields(own, mean, fixed[:, 1:], stimuli.likeness, seed)
    orders = stimuli.orders(null, own, fixed[:, 1:], seed)
    predictors = Predictors(own, own_bins, fixed, stimuli, fields, orders, settings)
    # rows run over model_b fastest, so rows of one model_a lie side by side
    which = np.arange(len(rows)) * len(own) // max(len(rows), 1)
    table = predictors.table(rows, which, pair_numbers(of_a, of_b))
    table |= predictors.interval(table["correlation"], rows, which, (of_a, of_b))
    found = {name: _shaped(name, values, shape) for name, values in table.items()}
    if f"correlation{OF_MEAN}" in names:
        one = np.zeros(1, np.int64)
        single = predictors.table(mean[None], one, one)
        found |= {name + OF_MEAN: _shaped(name, values, ()) for name, values in single.items()}
    return tuple(found[name] for name in names)


def _shaped(name: str, values: Array, shape: tuple[int, ...]) -> Array:
    """Values (R, …), or draws (D, R), with the rows in the shape of the pairs."""
    if "mean" in name:
        return values
    if name.startswith("_draws"):
        return values.reshape((len(values), *shape))
    return values.reshape((*shape, *values.shape[1:]))
