"""Alignment by fitted maps: canonical directions, a rotation, a linear prediction."""

from __future__ import annotations

import warnings

import numpy as np
import xarray as xr

from xconverge.engine.apply import apply
from xconverge.engine.folds import fold_numbers
from xconverge.engine.measure import Measure, Recipe
from xconverge.kernels import refitted
from xconverge.kernels.canonical import leading_scores, mean_canonical_correlation
from xconverge.kernels.procrustes import angle
from xconverge.kernels.ridge import held_out_scores
from xconverge.labels.checks import widths
from xconverge.labels.joins import on_side
from xconverge.labels.messages import choose
from xconverge.measures import long_pairs
from xconverge.measures.by_kernels import linear_parts, warn_if_wider
from xconverge.measures.rdm import prepared_rows

Rng = np.random.Generator | int | None


def _folds(
    a: xr.DataArray, b: xr.DataArray, folds: int, groups: str | None, rng: Rng
) -> xr.DataArray:
    """Folds of the common stimuli, which have the same order; groups are those of either side."""
    return fold_numbers(b if groups in b.coords else a, folds, groups, rng)


def procrustes(a: xr.DataArray, b: xr.DataArray) -> xr.DataArray:
    """Angle between centred, scaled models after the best rotation."""
    warn_if_wider(a, b, "metric='procrustes'")
    if long_pairs.are_long(a, b):
        return long_pairs.procrustes(a, b).assign_attrs(units="radian")
    parts = [
        (on_side(array, "model", f"_{what}"), core)
        for side, what in ((a, "a"), (b, "b"))
        for array, core in linear_parts(side.astype(np.float64), what)
    ]
    result: xr.DataArray = apply(
        angle, *(array for array, _ in parts), core=[core for _, core in parts]
    )
    return result.assign_attrs(units="radian")


def _procrustes_null(a: xr.DataArray, b: xr.DataArray) -> Recipe:
    warn_if_wider(a, b, "metric='procrustes'")
    parts_a, parts_b = (
        linear_parts(side.astype(np.float64), what) for side, what in ((a, "a"), (b, "b"))
    )
    return Recipe(refitted.procrustes_null, parts_a, parts_b, least=2)


def svcca(
    a: xr.DataArray,
    b: xr.DataArray,
    *,
    n_components: int = 10,
    folds: int | None = 5,
    groups: str | None = None,
    rng: Rng = 0,
) -> xr.DataArray:
    """Mean canonical correlation of the leading components."""
    number = _svcca_folds(a, b, n_components, folds, groups, rng)
    if long_pairs.have_sums(a, b, folds or 1):
        result = long_pairs.svcca(a, b, number, n_components)
    else:
        scores = _svcca_scores(a, b, n_components, number)
        result = apply(
            mean_canonical_correlation,
            *(on_side(s, "model", f"_{what}") for s, what in zip(scores, "ab", strict=True)),
            number,
            core=[["_fold", "stimulus", "_score"]] * 2 + [["stimulus"]],
        )
    return result.assign_attrs(n_components=n_components, folds=folds or 0, groups=groups)


def _svcca_folds(
    a: xr.DataArray,
    b: xr.DataArray,
    n_components: int,
    folds: int | None,
    groups: str | None,
    rng: Rng,
) -> xr.DataArray:
    """The fold of every stimulus, -1 without folds."""
    if n_components < 1:
        raise ValueError(f"n_components={n_components} must be at least 1")
    number = (
        xr.full_like(a["stimulus"], -1, dtype=np.int64)
        .reset_coords(drop=True)
        .drop_vars("stimulus")
        if folds is None
        else _folds(a, b, folds, groups, rng)
    )
    if folds is None and 2 * n_components >= a.sizes["stimulus"]:
        warnings.warn(
            f"metric='svcca' without folds: {n_components} components for {a.sizes['stimulus']} "
            "stimuli; unrelated models then look alike. Give folds, or fewer components",
            RuntimeWarning,
            stacklevel=4,
        )
    return number


def _svcca_scores(
    a: xr.DataArray, b: xr.DataArray, n_components: int, number: xr.DataArray
) -> tuple[xr.DataArray, xr.DataArray]:
    """Scores (model, fold, stimulus, score) of both sides."""
    scores_a, scores_b = (
        apply(
            leading_scores,
            side,
            widths(side, what),
            number,
            core=[["stimulus", "feature"], [], ["stimulus"]],
            out=[["_fold", "stimulus", "_score"]],
            sizes={"_fold": max(int(number.max()) + 1, 1), "_score": n_components},
            labels=("model", "stimulus"),
            what=what,
            n_components=n_components,
        )
        for side, what in ((a, "a"), (b, "b"))
    )
    return scores_a, scores_b


def _svcca_null(
    a: xr.DataArray,
    b: xr.DataArray,
    *,
    n_components: int = 10,
    folds: int | None = 5,
    groups: str | None = None,
    rng: Rng = 0,
) -> Recipe:
    number = _svcca_folds(a, b, n_components, folds, groups, rng)
    scores_a, scores_b = _svcca_scores(a, b, n_components, number)
    core = ["_fold", "stimulus", "_score"]
    return Recipe(
        refitted.svcca_null,
        [(scores_a, core)],
        [(scores_b, core)],
        [(number, ["stimulus"])],
        strata=None if folds is None else number,
        least=n_components + 2,
    )


def linear_predictivity(
    a: xr.DataArray,
    b: xr.DataArray,
    *,
    score: str = "r",
    folds: int = 5,
    groups: str | None = None,
    rng: Rng = 0,
) -> xr.DataArray:
    """How well ridge regression predicts every model of b from every model of a, held out."""
    fold = _predictivity_folds(a, b, score, folds, groups, rng)
    if long_pairs.have_sums(a, b, folds):
        r, r2 = long_pairs.linear_predictivity(a, b, fold)
    else:
        parts_a, parts_b = _predictivity_parts(a, b)
        side = "model_b"
        r, r2 = apply(
            held_out_scores,
            *(on_side(part, "model", "_a") for part in parts_a),
            *(on_side(part, "model", "_b") for part in parts_b),
            fold,
            core=[
                ["stimulus", "feature"],
                [],
                [side, "stimulus", "feature_b"],
                [side],
                ["stimulus"],
            ],
            out=[[side], [side]],
            dtypes=[np.float64, np.float64],
        )
    result: xr.DataArray = r if score == "r" else r2
    return result.assign_attrs(score=score, folds=folds, groups=groups)


def _predictivity_folds(
    a: xr.DataArray, b: xr.DataArray, score: str, folds: int, groups: str | None, rng: Rng
) -> xr.DataArray:
    """The fold of every stimulus."""
    choose("score", score, ["r", "r2"])
    if folds < 3:
        raise ValueError(f"folds={folds}: nested cross-validation needs at least 3")
    return _folds(a, b, folds, groups, rng)


def _predictivity_parts(
    a: xr.DataArray, b: xr.DataArray
) -> tuple[list[xr.DataArray], list[xr.DataArray]]:
    """Rows and widths of both sides."""
    rows_a, rows_b = (prepared_rows(side, "euclidean", what) for side, what in ((a, "a"), (b, "b")))
    real_a, real_b = widths(a, "a"), widths(b, "b")
    if "model" not in real_b.dims:
        real_b = real_b.expand_dims({"model": b.indexes["model"]})
    rows_b = rows_b.rename({"feature": "feature_b"})
    return [rows_a, real_a], [rows_b, real_b]


def _predictivity_null(
    a: xr.DataArray,
    b: xr.DataArray,
    *,
    score: str = "r",
    folds: int = 5,
    groups: str | None = None,
    rng: Rng = 0,
) -> Recipe:
    fold = _predictivity_folds(a, b, score, folds, groups, rng)
    parts_a, parts_b = _predictivity_parts(a, b)
    return Recipe(
        refitted.predictivity_null,
        list(zip(parts_a, [["stimulus", "feature"], []], strict=True)),
        list(zip(parts_b, [["stimulus", "feature_b"], []], strict=True)),
        [(fold, ["stimulus"])],
        strata=fold,
        least=6,
        options={"score": score},
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
        null=_svcca_null,
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
        null=_procrustes_null,
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
        null=_predictivity_null,
    ),
}
