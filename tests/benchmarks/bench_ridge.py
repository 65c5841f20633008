"""Linear predictivity beside scikit-learn's ridge regression in one process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

import xconverge as xc
from tests.benchmarks.bench_rsa import latent_set
from tests.benchmarks.table import Figure, Table, best_of
from xconverge.kernels.ridge import PENALTIES

FOLDS = 5


def predictivity(stimuli: int, features: int, repeats: int) -> Table:
    """Of one model from another. Theirs chooses penalties by stimuli left out, ours by folds."""
    from sklearn.linear_model import RidgeCV

    a, b = (latent_set(1, stimuli, features, seed) for seed in (0, 1))
    x, y = (side.values[0].astype(np.float64) for side in (a, b))
    fold = np.arange(stimuli) % FOLDS

    def peer() -> float:
        gaps, guesses = np.empty_like(y), np.empty_like(y)
        for k in range(FOLDS):
            train, test = fold != k, fold == k
            rows = x[train] - x[train].mean(0)
            share = np.vdot(rows, rows) / min(rows.shape)
            fitted = RidgeCV(alphas=PENALTIES * share).fit(x[train], y[train])
            mean = y[train].mean(0)
            gaps[test], guesses[test] = y[test] - mean, fitted.predict(x[test]) - mean
        gaps, guesses = gaps - gaps.mean(0), guesses - guesses.mean(0)
        sizes = np.linalg.norm(gaps, axis=0) * np.linalg.norm(guesses, axis=0)
        return float((np.vecdot(gaps, guesses, axis=0) / sizes).mean())

    def ours() -> xr.DataArray:
        return xc.alignment(a, b, "linear_predictivity", folds=FOLDS, rng=0)

    # other folds and another way to choose: alike, not equal
    assert abs(float(ours().mean()) - peer()) < (0.02 if stimuli > 500 else 0.5)
    two = np.flatnonzero(fold < FOLDS - 2)
    products = x[two] @ x[two].T

    def limit() -> None:
        for _ in range(FOLDS * (FOLDS - 1) // 2):
            axes = np.linalg.eigh(products)[1]
            axes.T @ y[two]

    seconds = best_of({"limit": limit, "peer": peer, "ours": ours}, repeats)
    name = f"linear predictivity, {FOLDS} nested folds of {stimuli} x {features}"
    return {
        f"{name}: times faster than RidgeCV": Figure(seconds["peer"] / seconds["ours"], at_least=8),
        f"{name}: over a decomposition and a product for each pair of folds": Figure(
            seconds["ours"] / seconds["limit"]
        ),
    }


def measure(short: bool, folder: Path) -> Table:
    """The table."""
    return predictivity(60, 48, 2) if short else predictivity(1_000, 768, 3)
