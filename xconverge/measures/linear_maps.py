"""Alignment by fitted maps: canonical directions, a rotation, a linear prediction."""

from __future__ import annotations

import warnings

import numpy as np
import xarray as xr

from xconverge.engine.folds import folds_of_pair
from xconverge.engine.measure import Measure, Plan
from xconverge.engine.pair import Pair
from xconverge.engine.resampling import strata_name
from xconverge.kernels.canonical import Svcca
from xconverge.kernels.procrustes_distance import Procrustes
from xconverge.kernels.ridge import Predictivity
from xconverge.labels.arguments import whole
from xconverge.labels.messages import choose
from xconverge.measures.cka import warn_if_wider

Groups = str | xr.DataArray | None


def procrustes(pair: Pair) -> Plan:
    """Angle between centred, scaled models after the best rotation."""
    warn_if_wider(pair, "metric='procrustes'")
    return Plan(Procrustes(), attrs={"units": "radian"})


def svcca(
    pair: Pair, *, n_components: int = 10, folds: int | None = 5, groups: Groups = None
) -> Plan:
    """Mean canonical correlation of the leading components."""
    whole("n_components", n_components, 1)
    if folds is None and groups is not None:
        raise ValueError(
            f"groups={strata_name(groups)!r} are held out together: they go with folds=…"
        )
    n = pair.a.sizes["stimulus"]
    if folds is None and 2 * n_components >= n:
        warnings.warn(
            f"metric='svcca' without folds: {n_components} components for {n} stimuli; unrelated "
            "models then look alike. Give folds, or fewer components",
            RuntimeWarning,
            stacklevel=4,
        )
    number = (
        xr.DataArray(np.full(n, -1), dims="stimulus")
        if folds is None
        else folds_of_pair(pair, folds, groups)
    )
    return Plan(Svcca(n_components), number, {"folds": folds or 0, "groups": strata_name(groups)})


def linear_predictivity(
    pair: Pair, *, score: str = "r", folds: int = 5, groups: Groups = None
) -> Plan:
    """How well ridge regression predicts every model of b from every model of a, held out."""
    choose("score", score, ["r", "r2"])
    whole("folds", folds, 3, why="for nested cross-validation")
    return Plan(
        Predictivity(score),
        folds_of_pair(pair, folds, groups),
        {"folds": folds, "groups": strata_name(groups)},
    )


MEASURES = {
    "svcca": Measure(
        svcca,
        per="model pair",
        kind="similarity",
        formula="standardise the columns, keep the first `n_components` principal components, "
        "mean canonical correlation; directions from the other folds, correlations on the "
        "held-out stimuli. `folds=None`: in-sample, as usually coded",
        range="-1 to 1; in-sample 0 to 1",
        chance="0; in-sample about sqrt(c/n) and more for c components",
        invariant=("translation", "scale"),
        cost="one decomposition a model and fold; then n c² a pair",
        reference="Raghu et al. (2017); Huh et al. (2024)",
        avoid="in-sample, with components not few against stimuli. It weighs the directions kept "
        "alike, and drops all others",
    ),
    "procrustes": Measure(
        procrustes,
        per="model pair",
        kind="distance",
        formula="centre, zero-pad, unit Frobenius norm, arccos of the nuclear norm of A'B",
        range="0 to π/2 radian",
        chance="falls to 0 as features outnumber stimuli; permute labels",
        invariant=("rotation", "translation", "scale"),
        cost="n d² and one singular value decomposition d³ a pair",
        reference="Williams et al. (2021), α = 1",
        avoid="with features not few against stimuli: unrelated models are then near each other; "
        "it warns where both sides have as many. It is a distance: small is alike",
    ),
    "linear_predictivity": Measure(
        linear_predictivity,
        per="model pair",
        kind="similarity",
        formula="ridge regression of b on a, penalty chosen inside the other folds; `score='r'`: "
        "mean over features of b of the held-out correlation, `'r2'`: 1 - held-out squared error "
        "/ that of the mean",
        range="r: -1 to 1; R²: -∞ to 1",
        chance="0, or a little below",
        invariant=("rotation", "translation", "scale"),
        cost="one eigenvalue decomposition d³ for each pair of folds and model of a; then n d² "
        "a pair",
        reference="Schrimpf et al. (2018)",
        avoid="where direction must not matter: it is not symmetric (swap the arguments for the "
        "other). With grouped stimuli give `groups`, else neighbours leak between folds. `r` "
        "follows a rotation of b, R² does not",
    ),
}
