"""Alignment by fitted maps: canonical directions, a rotation, a linear prediction."""

from __future__ import annotations

import warnings

import numpy as np
import xarray as xr

from xconverge._apply import apply
from xconverge.kernels.canonical import leading_scores, mean_canonical_correlation
from xconverge.kernels.procrustes import angle
from xconverge.kernels.ridge import held_out_scores
from xconverge.measures.by_kernels import centered_rows, warn_if_wider
from xconverge.measures.folds import fold_numbers
from xconverge.measures.rdm import prepared_rows
from xconverge.measures.table import Measure
from xconverge.schema import Dims, choose, on_side, widths

Rng = np.random.Generator | int | None


def _folds(
    a: xr.DataArray, b: xr.DataArray, folds: int, stimulus: str, groups: str | None, rng: Rng
) -> xr.DataArray:
    """Folds of the common stimuli, which have the same order; groups are those of either side."""
    return fold_numbers(b if groups in b.coords else a, folds, stimulus, groups, rng)


def procrustes(a: xr.DataArray, b: xr.DataArray, dims: Dims) -> xr.DataArray:
    """Angle between centred, scaled models after the best rotation."""
    model, stimulus, feature = dims
    warn_if_wider(a, b, dims, "metric='procrustes'")
    parts: list[xr.DataArray] = []
    core: list[list[str]] = []
    for side, what in ((a, "a"), (b, "b")):
        rows, real = centered_rows(side.astype(np.float64), dims, what)
        rows = rows.rename({feature: f"{feature}_{what}"})
        parts += [on_side(rows, model, f"_{what}"), on_side(real, model, f"_{what}")]
        core += [[stimulus, f"{feature}_{what}"], []]
    result: xr.DataArray = apply(angle, *parts, core=core)
    return result.assign_attrs(units="radian")


def svcca(
    a: xr.DataArray,
    b: xr.DataArray,
    dims: Dims,
    *,
    n_components: int = 10,
    folds: int | None = 5,
    groups: str | None = None,
    rng: Rng = 0,
) -> xr.DataArray:
    """Mean canonical correlation of the leading components."""
    model, stimulus, feature = dims
    if n_components < 1:
        raise ValueError(f"n_components={n_components} must be at least 1")
    number = (
        xr.full_like(a[stimulus], -1, dtype=np.int64).reset_coords(drop=True).drop_vars(stimulus)
        if folds is None
        else _folds(a, b, folds, stimulus, groups, rng)
    )
    if folds is None and 2 * n_components >= a.sizes[stimulus]:
        warnings.warn(
            f"metric='svcca' without folds: {n_components} components for {a.sizes[stimulus]} "
            "stimuli; unrelated models then look alike. Give folds, or fewer components",
            RuntimeWarning,
            stacklevel=3,
        )
    scores = [
        on_side(
            apply(
                leading_scores,
                side,
                widths(side, feature, what),
                number,
                core=[[stimulus, feature], [], [stimulus]],
                out=[["_fold", stimulus, "_score"]],
                sizes={"_fold": folds or 1, "_score": n_components},
                labels=(model, stimulus),
                what=what,
                n_components=n_components,
            ),
            model,
            f"_{what}",
        )
        for side, what in ((a, "a"), (b, "b"))
    ]
    result: xr.DataArray = apply(
        mean_canonical_correlation,
        *scores,
        number,
        core=[["_fold", stimulus, "_score"]] * 2 + [[stimulus]],
    )
    return result.assign_attrs(n_components=n_components, folds=folds or 0, groups=groups)


def linear_predictivity(
    a: xr.DataArray,
    b: xr.DataArray,
    dims: Dims,
    *,
    score: str = "r",
    folds: int = 5,
    groups: str | None = None,
    rng: Rng = 0,
) -> xr.DataArray:
    """How well ridge regression predicts every model of b from every model of a, held out."""
    choose("score", score, ["r", "r2"])
    if folds < 3:
        raise ValueError(f"folds={folds}: nested cross-validation needs at least 3")
    model, stimulus, feature = dims
    inside, targets = f"{feature}_b", f"{model}_b"
    real_a, real_b = widths(a, feature, "a"), widths(b, feature, "b")
    if model not in real_b.dims:
        real_b = real_b.expand_dims({model: b.indexes[model]})
    r, r2 = apply(
        held_out_scores,
        on_side(prepared_rows(a, dims, "euclidean", "a"), model, "_a"),
        on_side(real_a, model, "_a"),
        on_side(prepared_rows(b, dims, "euclidean", "b"), model, "_b").rename({feature: inside}),
        on_side(real_b, model, "_b"),
        _folds(a, b, folds, stimulus, groups, rng),
        core=[[stimulus, feature], [], [targets, stimulus, inside], [targets], [stimulus]],
        out=[[targets], [targets]],
        dtypes=[np.float64, np.float64],
    )
    result: xr.DataArray = r if score == "r" else r2
    return result.assign_attrs(score=score, folds=folds, groups=groups)


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
