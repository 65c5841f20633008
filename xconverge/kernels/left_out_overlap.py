"""How neighbourhood dispersion among the other models goes with mutual-kNN, in draws of models.

The mean rank correlation of `modulation`, of models that saw all stimuli, without labels: for what
is made anew hundreds of times. Neighbours of the other modality are found once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from xconverge.kernels.correlation import ranks
from xconverge.kernels.dealt_neighbors import DealtModel
from xconverge.kernels.dispersion import without
from xconverge.kernels.equal_noise import OfDraw, Parts
from xconverge.kernels.knn import overlap
from xconverge.kernels.vectors import Array

DENSITY, NORM = "local_density", "norm"
"""Covariates that are made of the models themselves."""


class LeftOutOverlap(NamedTuple):
    """The statistic: k neighbours, those of the other side (B, n, k), who is left out with whom.

    ``group`` and ``family`` (A), and ``family_b`` (B), number the models. ``covariates`` are names
    of what is made of the scored model, or values (A, n).
    """

    k: int
    lists_b: Array
    group: Array
    family: Array
    family_b: Array
    covariates: Sequence[str | Array]

    def __call__(self, models: Sequence[Parts]) -> OfDraw:
        """What is made once for all draws of these models; then the statistic of a draw."""
        prepared = [DealtModel(model, len(models)) for model in models]
        n = len(models[0].fitted)
        seen = np.ones((len(models), n), bool)
        pair_family = self.family[:, None] * (self.family_b.max() + 1) + self.family_b

        def of_draw(orders: Sequence[Array]) -> float:
            found = [m.neighbors(order, self.k) for m, order in zip(prepared, orders, strict=True)]
            apart = np.zeros((len(found), len(found), n))
            for i, one in enumerate(found):
                for j, other in enumerate(found[:i]):
                    apart[i, j] = apart[j, i] = 1 - overlap(one.lists, other.lists)
            spread, _ = without(apart, seen, self.group, self.family)
            own = {
                DENSITY: np.stack([one.density for one in found]),
                NORM: np.stack([one.norm for one in found]),
            }
            covariates = [own[one] if isinstance(one, str) else one for one in self.covariates]
            scores = np.array([[overlap(one.lists, b) for b in self.lists_b] for one in found])
            return mean_correlation(spread, scores, covariates, pair_family)

        return of_draw


def mean_correlation(
    spread: Array, scores: Array, covariates: Sequence[Array], pair_family: Array
) -> float:
    """Mean over families of pairs of rank correlations of rows (A, n) with scores (A, B, n).

    Ranks of ``covariates`` (A, n) are partialled out. A row without a rank correlation, as all its
    values are equal, has no part in it.
    """
    values = np.concatenate([spread[:, None], scores, *(c[:, None] for c in covariates)], axis=1)
    ranked = ranks(values)
    ranked -= ranked.mean(-1, keepdims=True)
    few = 1 + scores.shape[1]
    correlation = np.empty(scores.shape[:2])
    for row, of_model in zip(correlation, ranked, strict=True):
        sides = of_model[:few]
        if len(covariates):
            _, scale, basis = np.linalg.svd(of_model[few:], full_matrices=False)
            basis = basis[scale > 1e-10 * scale.max()]
            sides = sides - (sides @ basis.T) @ basis
        norm = np.linalg.norm(sides, axis=1)
        # what covariates explain wholly is rounding
        fine = norm > 1e-9 * np.abs(of_model[:few]).max(1) * np.sqrt(sides.shape[1])
        sides = sides / np.where(fine, norm, np.nan)[:, None]
        row[:] = sides[1:] @ sides[0]
    defined = np.isfinite(correlation)
    if not defined.any():
        return np.nan
    _, number = np.unique(pair_family[defined], return_inverse=True)
    means = np.bincount(number, correlation[defined]) / np.bincount(number)
    return float(means.mean())
