"""How often every test rejects a true null, finds a planted effect, and intervals cover.

Run ``python tests/benchmarks/bench_calibration.py`` for the table, ``--write`` to put it into
docs/calibration.md, ``--short`` for a few runs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

import xconverge as xc
from xconverge.kernels.crossed import crossed, influence
from xconverge.kernels.mixed_model import effective_size

DOCS = Path(__file__).parents[2] / "docs" / "calibration.md"
ALPHA = 0.05
PERMUTATIONS = 199


def labelled(values: np.ndarray, model: str, groups: np.ndarray | None = None) -> xr.DataArray:
    """Sets (run, model, stimulus, feature) with labels."""
    _, models, stimuli, _ = values.shape
    reps = xr.DataArray(
        values,
        dims=("run", "model", "stimulus", "feature"),
        coords={
            "model": [f"{model}{i}" for i in range(models)],
            "stimulus": [f"s{i}" for i in range(stimuli)],
        },
        attrs={"space": "shared"},
    )
    return reps if groups is None else reps.assign_coords(category=("stimulus", groups))


Rows = Iterator[tuple[str, str, Callable[[np.random.Generator], xr.DataArray]]]
Pair = tuple[xr.DataArray, xr.DataArray]


def independent(
    runs: int, rng: np.random.Generator, n: int = 40, d: int = 8, models: tuple[int, int] = (1, 1)
) -> Pair:
    """Normal features that have nothing to do with each other."""
    a, b = (rng.standard_normal((runs, count, n, d)) for count in models)
    return labelled(a, "a"), labelled(b, "b")


def low_dimensional(runs: int, rng: np.random.Generator) -> Pair:
    """Two features only: the entries of an RDM depend strongly on each other."""
    return independent(runs, rng, n=30, d=2)


def equal_marginals(runs: int, rng: np.random.Generator) -> Pair:
    """The same vectors on both sides, with labels that have nothing to do with each other."""
    a, _ = independent(runs, rng)
    moved = np.stack([x[:, rng.permutation(x.shape[1])] for x in a.values])
    return a, labelled(moved, "b")


def hubs(runs: int, rng: np.random.Generator) -> Pair:
    """Some stimuli near the centre of everything, the neighbours of most others."""

    def side(name: str) -> xr.DataArray:
        spread = rng.permuted(np.tile(np.geomspace(0.2, 3, 40), (runs, 1)), axis=1)
        values = rng.standard_normal((runs, 1, 40, 8)) * spread[:, None, :, None]
        return labelled(values + 1.0, name)

    return side("a"), side("b")


def categories(runs: int, rng: np.random.Generator, inside: float = 0.0) -> Pair:
    """Four categories that both sides know, and nothing in common inside them."""
    groups = np.repeat(np.arange(4), 12)
    shared = rng.standard_normal((runs, 1, 48, 8))

    def side(name: str) -> xr.DataArray:
        centers = 2 * rng.standard_normal((runs, 1, 4, 8))
        own = rng.standard_normal((runs, 1, 48, 8))
        return labelled(centers[:, :, groups] + own + inside * shared, name, groups.astype(str))

    return side("a"), side("b")


def related(
    runs: int,
    rng: np.random.Generator,
    n: int = 40,
    models: tuple[int, int] = (1, 1),
    latent: np.ndarray | None = None,
    maps: list[np.ndarray] | None = None,
    noise: float = 0.8,
) -> Pair:
    """Both sides see the same four latents, under much noise of their own.

    ``latent`` (n, 4) and ``maps`` (models, 4, 8) of both sides are those given, or new in every
    run.
    """
    if latent is None:
        latent = rng.standard_normal((runs, n, 4))
    if maps is None:
        maps = [rng.standard_normal((runs, count, 4, 8)) / 2 for count in models]
    sides = []
    for name, own in zip("ab", maps, strict=True):
        signal = np.asarray(latent)[..., None, :, :] @ own
        shape = (runs, *signal.shape[-3:])
        own_noise = noise * rng.standard_normal(shape)
        sides.append(labelled(np.broadcast_to(signal, shape) + own_noise, name))
    return sides[0], sides[1]


def calibrated(pair: Pair, seed: int, metric: str, **options: object) -> xr.DataArray:
    """P-values (run) of ``calibrate``."""
    table = xc.calibrate(*pair, metric, n_permutations=PERMUTATIONS, rng=seed, **options)
    return table["p_value"]


def mantel(pair: Pair, seed: int, nuisance: bool = False, method: str = "spearman") -> xr.DataArray:
    """P-values of ``calibrate_rsa``, with or without a nuisance RDM that both follow."""
    a, b = (xc.rdm(side, "euclidean") for side in pair)
    controls = ()
    if nuisance:
        luminance = xr.DataArray(
            np.random.default_rng(seed).standard_normal((a.sizes["stimulus"], 1)),
            dims=("stimulus", "feature"),
            coords={"stimulus": a["stimulus"]},
        )
        control = xc.rdm(luminance, "euclidean")
        a, b = a + control, b + control
        controls = (control,)
    table = xc.calibrate_rsa(a, b, method, nuisance=controls, n_permutations=PERMUTATIONS, rng=seed)
    return table["p_value"]


def inside_bins(pair: Pair, seed: int) -> xr.DataArray:
    """P-values (run, bin) of ``binned_rsa``, one call a run: bins follow the run."""
    return each_run(
        pair,
        lambda a, b, i: xc.binned_rsa(
            a, b.isel(model=0, drop=True), spread_of(a, seed + i), 2,
            rdm_metric="euclidean", n_permutations=PERMUTATIONS, rng=seed + i,
        )["p_value"],
    )  # fmt: skip


def bin_contrast(pair: Pair, seed: int) -> xr.DataArray:
    """P-values (run) of the trend of RSA over bins that mean nothing."""
    return each_run(
        pair,
        lambda a, b, i: xc.binned_rsa_contrast(
            a, b.isel(model=0, drop=True), spread_of(a, seed + i), 2,
            n_permutations=99, rng=seed + i,
         null="labels")["trend_p_value"],
    )  # fmt: skip


def contrasted(pair: Pair, seed: int, pool: str, matched: bool = False) -> xr.DataArray:
    """P-values (run) of the low subset; matched: of dispersion that follows local density."""

    def test(a: xr.DataArray, b: xr.DataArray, i: int) -> xr.DataArray:
        spread, match = spread_of(a, seed + i), ()
        if matched:
            density = xc.local_density(a, 3).isel(model=0, drop=True)
            bins = xc.dispersion_bins(density, 3)
            spread, match = 0.5 * spread - bins, [density]
        table = xc.subset_contrast(
            spread, a, b, size=10, k=3, n_random=PERMUTATIONS,
            match=match, match_bins=3, rng=seed + i,
         null="labels")  # fmt: skip
        return table["p_value"].isel(control=-1).sel(subset="low", pool=pool, drop=True)

    return each_run(pair, test)


def each_run(pair: Pair, test: Callable[[xr.DataArray, xr.DataArray, int], xr.DataArray]):
    """One p-value a run, of a test that takes one set at a time."""
    a, b = pair
    parts = [test(a.isel(run=i), b.isel(run=i), i) for i in range(a.sizes["run"])]
    return xr.concat(parts, "run", coords="minimal", compat="override")


def spread_of(reps: xr.DataArray, seed: int) -> xr.DataArray:
    """A dispersion that has to do with nothing."""
    values = np.random.default_rng([seed, 7]).standard_normal(reps.sizes["stimulus"])
    return xr.DataArray(values, dims="stimulus", coords={"stimulus": reps["stimulus"]})


def modulated(
    runs: int, rng: np.random.Generator, effect: float, confound: float, strata: bool
) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray, np.ndarray]:
    """Dispersion (run, stimulus), alignment (run, model_a, stimulus), a covariate, categories."""
    n = 48
    groups = np.repeat(np.arange(4), 12)
    covariate = rng.standard_normal((runs, n))
    level = (
        2 * rng.standard_normal((2, runs, 4))[:, :, groups] if strata else np.zeros((2, runs, n))
    )
    spread = rng.standard_normal((runs, n)) + confound * covariate + level[0]
    common = level[1] + confound * covariate - effect * spread
    scores = common[:, None] + rng.standard_normal((runs, 3, n))
    stimuli = [f"s{i}" for i in range(n)]

    def array(values: np.ndarray, *dims: str) -> xr.DataArray:
        return xr.DataArray(values, dims=("run", *dims), coords={"stimulus": stimuli})

    return (
        array(spread, "stimulus"),
        array(scores, "model_a", "stimulus"),
        array(covariate, "stimulus"),
        groups.astype(str),
    )


def modulation(
    runs: int,
    rng: np.random.Generator,
    seed: int,
    effect: float = 0.0,
    confound: float = 0.0,
    strata: bool = False,
    control: bool = True,
    restrict: bool = True,
) -> xr.DataArray:
    """P-values (run, model_a) of ``modulation``."""
    spread, scores, covariate, groups = modulated(runs, rng, effect, confound, strata)
    parts = []
    for i in range(runs):
        dispersion = spread.isel(run=i).assign_coords(category=("stimulus", groups))
        parts.append(
            xc.modulation(
                dispersion,
                scores.isel(run=i),
                covariates=covariate.isel(run=i) if confound and control else (),
                strata="category" if strata and restrict else None,
                n_bins=2,
                n_permutations=PERMUTATIONS,
                rng=seed + i,
                null="labels",
            )["p_value"].isel(model_a=0)
        )
    return xr.concat(parts, "run", coords="minimal", compat="override")


METRICS = ("mutual_knn", "cycle_knn", "lcs_knn", "edit_distance_knn", "cknna", "cka", "rdm", "rsa")
FITTED = {"svcca": {"n_components": 3}, "procrustes": {}, "linear_predictivity": {"folds": 3}}


def tests(runs: int, seed: int) -> Rows:
    """Test, data under its null, and the p-values of all runs."""
    small = {"k": 5}
    for metric in METRICS:
        options = small if metric.endswith("knn") or metric == "cknna" else {}
        if metric in ("rdm", "rsa"):  # correlations of two features are 1 or -1
            options = {"rdm_metric": "euclidean"}
        for name, data in (
            ("independent", independent), ("two dimensions", low_dimensional),
            ("equal marginals", equal_marginals), ("hubs", hubs),
        ):  # fmt: skip
            yield (
                f"`calibrate`, {metric}", name,
                lambda rng, data=data, metric=metric, options=options: calibrated(
                    data(runs, rng), seed, metric, **options
                ),
            )  # fmt: skip
        yield (
            f"`calibrate`, {metric}, strata", "categories",
            lambda rng, metric=metric, options=options: calibrated(
                categories(runs, rng), seed, metric, strata="category", **options
            ),
        )  # fmt: skip
    for metric, options in FITTED.items():
        yield (
            f"`calibrate`, {metric}", "independent",
            lambda rng, metric=metric, options=options: calibrated(
                independent(runs, rng, n=24, d=4), seed, metric, **options
            ),
        )  # fmt: skip
    yield (
        "`calibrate`, rbf cka", "hubs",
        lambda rng: calibrated(hubs(runs, rng), seed, "cka", kernel="rbf"),
    )  # fmt: skip
    yield (
        "`calibrate`, biased cka", "independent",
        lambda rng: calibrated(independent(runs, rng, d=30), seed, "cka", debiased=False),
    )  # fmt: skip
    yield (
        "`calibrate`, best of 3 × 3 layers", "independent",
        lambda rng: calibrated(of_layers(runs, rng), seed, "cka", layers="max"),
    )  # fmt: skip
    yield "`calibrate`, max-T over 6 pairs", "independent", lambda rng: max_t(runs, rng, seed)
    for correction in ("p_value_max_t", "p_value_cluster"):
        for name, smooth in (("independent", 1), ("smooth", 5)):
            yield (
                f"`calibrate`, {correction}, any of 2 models × 20 time bins", f"{name} bins",
                lambda rng, correction=correction, smooth=smooth: over_time(
                    max(runs // 3, 1), rng, seed, correction, smooth
                ),
            )  # fmt: skip
    for metric, options in DUPLICATED.items():
        yield (
            f"`calibrate`, {metric}, blocks", "pairs of near-duplicates",
            lambda rng, metric=metric, options=options: calibrated(
                duplicated(runs, rng), seed, metric, blocks="unit", **options
            ),
        )  # fmt: skip
    for name, data in (("independent", independent), ("two dimensions", low_dimensional)):
        yield (
            "`calibrate_rsa`, spearman", name,
            lambda rng, data=data: mantel(data(runs, rng), seed),
        )  # fmt: skip
    yield (
        "`calibrate_rsa`, pearson, given a nuisance", "two dimensions and a common nuisance",
        lambda rng: mantel(low_dimensional(runs, rng), seed, nuisance=True, method="pearson"),
    )  # fmt: skip
    yield (
        "`binned_rsa`, inside a bin", "two dimensions",
        lambda rng: inside_bins(low_dimensional(runs, rng), seed).isel(bin=0),
    )  # fmt: skip
    yield (
        "`binned_rsa_contrast`, trend", "related, whatever the bin",
        lambda rng: bin_contrast(related(runs, rng), seed),
    )  # fmt: skip
    yield (
        "`subset_contrast`, low, full pool", "related, whatever the dispersion",
        lambda rng: contrasted(related(runs, rng), seed, "full"),
    )  # fmt: skip
    yield (
        "`subset_contrast`, low, inside", "related, whatever the dispersion",
        lambda rng: contrasted(related(runs, rng), seed, "inside"),
    )  # fmt: skip
    yield (
        "`subset_contrast`, matched", "dispersion and alignment follow a covariate",
        lambda rng: contrasted(related(runs, rng, n=60), seed, "full", matched=True),
    )  # fmt: skip
    yield "`modulation`", "independent", lambda rng: modulation(runs, rng, seed)
    yield (
        "`modulation` given a covariate", "a covariate that both follow",
        lambda rng: modulation(runs, rng, seed, confound=1.0),
    )  # fmt: skip
    yield (
        "`modulation` inside strata", "categories that both follow",
        lambda rng: modulation(runs, rng, seed, strata=True),
    )  # fmt: skip


def of_layers(runs: int, rng: np.random.Generator) -> Pair:
    """Networks of three layers each, alike among themselves."""

    def side(name: str) -> xr.DataArray:
        common = rng.standard_normal((runs, 1, 40, 8))
        reps = labelled(common + 0.5 * rng.standard_normal((runs, 3, 40, 8)), name)
        return reps.assign_coords(network=("model", [name] * 3))

    return side("a"), side("b")


def max_t(runs: int, rng: np.random.Generator, seed: int) -> xr.DataArray:
    """Smallest adjusted p-value (run) of six pairs of models that depend on each other."""
    a, b = independent(runs, rng, models=(2, 3))
    a, b = (side + side.isel(model=0) for side in (a, b))
    pairs = ["model_a", "model_b"]
    table = xc.calibrate(a, b, "cka", over=pairs, n_permutations=PERMUTATIONS, rng=seed)
    return table["p_value_max_t"].min(pairs)


def over_time(
    runs: int, rng: np.random.Generator, seed: int, correction: str, smooth: int = 1, bins: int = 20
) -> xr.DataArray:
    """Smallest p-value (run) over 2 models and 20 time bins of a recording of something else.

    Features of the bins are moving means over ``smooth`` of them.
    """
    a, b = independent(runs, rng, n=30, d=6, models=(2, 1))
    noise = rng.standard_normal((runs, bins + smooth - 1, *b.shape[1:]))
    values = np.lib.stride_tricks.sliding_window_view(noise, smooth, 1).mean(-1)
    parts = [labelled(values[:, t], "b") for t in range(bins)]
    recording = xr.concat(parts, "time").assign_coords(time=range(bins))
    family = ["model_a", "model_b", "time"]
    table = xc.calibrate(
        a, recording, "cka", over=family, clusters="time", n_permutations=PERMUTATIONS, rng=seed
    )
    return table[correction].min(family)


def duplicated(runs: int, rng: np.random.Generator, n: int = 40, d: int = 8) -> Pair:
    """Pairs of near-duplicates, the same ones in sets that have nothing to do with each other."""

    def side(name: str) -> xr.DataArray:
        twice = np.repeat(rng.standard_normal((runs, 1, n // 2, d)), 2, axis=2)
        values = twice + 0.2 * rng.standard_normal((runs, 1, n, d))
        return labelled(values, name).assign_coords(
            unit=("stimulus", np.repeat([f"pair {i}" for i in range(n // 2)], 2))
        )

    return side("a"), side("b")


DUPLICATED = {
    "mutual_knn": {"k": 3}, "cka": {}, "rsa": {},
    "linear_predictivity": {"folds": 4}, "svcca": {"n_components": 3, "folds": 4},
}  # fmt: skip


def wrong(runs: int, seed: int) -> Rows:
    """What happens without the remedy."""
    yield (
        "p-value of `spearmanr` over RDM entries", "two dimensions",
        lambda rng: parametric(low_dimensional(runs, rng)),
    )  # fmt: skip
    yield (
        "`calibrate_rsa`, spearman, given a nuisance that adds up before ranking",
        "two dimensions and a common nuisance",
        lambda rng: mantel(low_dimensional(runs, rng), seed, nuisance=True),
    )  # fmt: skip
    yield (
        "`calibrate`, cka, without strata", "categories",
        lambda rng: calibrated(categories(runs, rng), seed, "cka"),
    )  # fmt: skip
    for metric, options in DUPLICATED.items():
        yield (
            f"`calibrate`, {metric}, without blocks", "pairs of near-duplicates",
            lambda rng, metric=metric, options=options: calibrated(
                duplicated(runs, rng), seed, metric, **options
            ),
        )  # fmt: skip
    for name, smooth in (("independent", 1), ("smooth", 5)):
        yield (
            "`calibrate`, p_value, any of 2 models × 20 time bins", f"{name} bins",
            lambda rng, smooth=smooth: over_time(
                max(runs // 3, 1), rng, seed, "p_value", smooth
            ),
        )  # fmt: skip
    yield (
        "`modulation` without the covariate", "a covariate that both follow",
        lambda rng: modulation(runs, rng, seed, confound=1.0, control=False),
    )  # fmt: skip
    yield (
        "`modulation` without strata", "categories that both follow",
        lambda rng: modulation(runs, rng, seed, strata=True, restrict=False),
    )  # fmt: skip


def parametric(pair: Pair) -> xr.DataArray:
    """P-values of scipy's spearmanr over the entries of two RDMs."""
    from scipy.stats import spearmanr

    a, b = (xc.rdm(side, "euclidean").values[:, 0] for side in pair)
    upper = np.triu_indices(a.shape[1], 1)
    return xr.DataArray(
        [spearmanr(u[upper], v[upper]).pvalue for u, v in zip(a, b, strict=True)], dims="run"
    )


def power(runs: int, seed: int) -> Rows:
    """Tests on data with an effect."""
    for metric in METRICS:
        options = {"k": 5} if metric.endswith(("knn", "cknna")) else {}
        yield (
            f"`calibrate`, {metric}", "four common latents under noise",
            lambda rng, metric=metric, options=options: calibrated(
                related(runs, rng, noise=1.5), seed, metric, **options
            ),
        )  # fmt: skip
    yield (
        "`calibrate`, mutual_knn, strata", "categories and something inside them",
        lambda rng: calibrated(
            categories(runs, rng, inside=1.0), seed, "mutual_knn", strata="category", k=5
        ),
    )  # fmt: skip
    yield (
        "`modulation`", "correlation of about -0.45",
        lambda rng: modulation(runs, rng, seed, effect=0.5),
    )  # fmt: skip


INTERVALS = (
    ("mutual_knn", {"k": 5}), ("cka", {}), ("rsa", {}), ("rdm", {}), ("cknna", {"k": 5}),
)  # fmt: skip


def _ways(metric: str) -> tuple[str, ...]:
    if metric == "mutual_knn":
        return "local", "subsample", "bootstrap"
    return ("subsample",) if metric == "cknna" else ("subsample", "bootstrap")


def coverage(runs: int, seed: int) -> Iterator[tuple[str, str, Callable[[], tuple[float, float]]]]:
    """Interval, what is drawn again in every run, and how often it holds the truth."""
    rng = np.random.default_rng(seed)
    latent = rng.standard_normal((50, 4))
    maps = [rng.standard_normal((count, 4, 8)) / 2 for count in (2, 2)]
    for metric, options in INTERVALS:
        for how in _ways(metric):
            yield (
                f"{metric}, {how}", "50 stimuli, mean of 2 × 2 models",
                partial(
                    covered, runs, seed, metric, partial(related, n=50, maps=maps),
                    resample=how, **options,
                ),
            )  # fmt: skip
    yield (
        'cka, `over="model"`', "8 × 8 models",
        partial(
            covered, runs, seed, "cka", partial(related, models=(8, 8), latent=latent),
            over="model",
        ),
    )  # fmt: skip
    yield (
        'cka, `over="both"`', "50 stimuli and 8 × 8 models",
        partial(
            covered, runs, seed, "cka", partial(related, n=50, models=(8, 8)), over="both"
        ),
    )  # fmt: skip
    yield from random_models(runs, seed)


def random_models(
    runs: int, seed: int
) -> Iterator[tuple[str, str, Callable[[], tuple[float, float]]]]:
    """Intervals of a mean rank correlation whose truth is 0, over stimuli and models."""
    varied, near, clouds = "slopes N(0, 0.3)", "slopes N(0, 0.1)", "smooth maps"
    for how, size, families, spread, n, length, data in (
        ("over stimuli alone", 6, 6, 0.3, 92, 0.0, varied),
        ("crossed", 6, 6, 0.3, 92, 0.0, varied),
        ("crossed", 6, 6, 0.3, 300, 0.0, varied),
        ("crossed", 3, 3, 0.3, 92, 0.0, varied),
        ("crossed", 2, 2, 0.3, 92, 0.0, varied),
        ("crossed", 6, 3, 0.3, 92, 0.0, f"3 families a side, {varied}"),
        ("crossed", 6, 6, 0.1, 92, 0.0, near),
        ("crossed", 6, 6, 0.0, 92, 0.0, "no slopes"),
        ("crossed", 6, 6, 0.0, 92, 0.3, f"no slopes, {clouds}"),
        ("crossed, all stimuli counted", 6, 6, 0.0, 92, 0.3, f"no slopes, {clouds}"),
        ("crossed", 6, 6, 0.1, 300, 1.0, f"{near}, {clouds}"),
    ):
        yield (
            f"mean correlation, {how}", f"{n} stimuli, {size} × {size} models, {data}",
            partial(
                crossed_over, runs, seed, size, families, spread, n, length,
                fixed=how == "over stimuli alone", counted=how.endswith("counted"),
            ),
        )  # fmt: skip


def crossed_over(
    runs: int,
    seed: int,
    size: int,
    families: int,
    spread: float,
    n: int,
    length: float,
    *,
    fixed: bool,
    counted: bool,
) -> tuple[float, float]:
    """Share of intervals that hold 0, and their mean width.

    Pairs have slopes that their models add to, and noise of all pairs, of either model, and their
    own. Maps are smooth over places in a plane, at a ``length`` above 0; the effective number of
    stimuli is that of their true covariances.
    """
    rng = np.random.default_rng(seed)
    field = np.eye(n)
    if length:
        places = rng.standard_normal((n, 2))
        square = ((places[:, None] - places) ** 2).sum(-1)
        field = np.exp(-square / (2 * length**2)) + 1e-8 * np.eye(n)
    own = (0.4 / size + 0.3 / size**2) * np.eye(n)
    worth = float(n) if counted else effective_size(field, 0.3 * field + own)
    factor = np.linalg.cholesky(field)
    of = np.zeros(size, int) if fixed else np.arange(size) * families // size
    noise = rng.standard_normal
    found = []
    for _ in range(runs):
        x, common = (factor @ noise((n, 2))).T
        slope = spread * noise((2, families))[:, np.arange(size) * families // size]
        y = (slope[0][:, None] + slope[1])[..., None] * x + np.sqrt(0.3) * common
        y += np.sqrt(0.2) * (noise((size, 1, n)) + noise((size, n)))
        y += np.sqrt(0.3) * noise((size, size, n))
        rows, which = y.reshape(-1, n), np.zeros(size * size, int)
        added = influence(x[None], rows, which, np.empty((1, 0, n)))
        values = 1 - cdist(rankdata(x)[None], rankdata(rows, axis=1), "correlation")
        told = crossed(values.reshape(size, size), added.reshape(size, size, n), worth, of, of)
        found.append((told.lower, told.upper))
    lower, upper = np.transpose(found)
    return float(((lower < 0) & (upper > 0)).mean()), float((upper - lower).mean())


def covered(
    runs: int,
    seed: int,
    metric: str,
    data: Callable[[int, np.random.Generator], Pair],
    over: str = "stimulus",
    resample: str | None = None,
    **options: object,
) -> tuple[float, float]:
    """Share of intervals that hold the mean score of many other sets, and their mean width."""
    truth = []
    for part in range(4):
        a, b = data(runs, np.random.default_rng([seed, part]))
        scores = xc.alignment(a, b, metric, **options)
        truth.append(float(scores.mean()))
    found = xc.confidence_interval(
        *data(runs, np.random.default_rng([seed, 9])), metric, over=over, resample=resample,
        n_resamples=PERMUTATIONS, rng=seed, **options,
    )  # fmt: skip
    lower, upper = found["lower_of_mean"], found["upper_of_mean"]
    inside = (lower <= np.mean(truth)) & (np.mean(truth) <= upper)
    return float(inside.mean()), float((upper - lower).mean())


def row(rows: str, number: int, tell: Callable[..., Any], runs: int, seed: int) -> tuple[Any, ...]:
    """One row of a table: what is measured, of which data, and what ``tell`` makes of the call."""
    name, data, call = list(globals()[rows](runs, seed))[number]
    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        told = tell(f"{name} {data}", call, runs, seed)
    print(name, data, *told, f"{time.perf_counter() - begin:.0f} s", flush=True)
    return name, data, *told


def table_of(
    rows: str, tell: Callable[..., Any], columns: list[str], runs: int, seed: int
) -> pd.DataFrame:
    """All ``rows``, one process a core."""
    count = len(list(globals()[rows](runs, seed)))
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(row, rows, number, tell, runs, seed) for number in range(count)]
        return pd.DataFrame([job.result() for job in jobs], columns=columns)


def rejected(what: str, call: Callable[..., xr.DataArray], runs: int, seed: int) -> tuple[str, int]:
    """The rate of p-values up to 0.05, and how many there are."""
    p = call(np.random.default_rng([seed, zlib.crc32(what.encode())])).values.ravel()
    p = p[~np.isnan(p)]
    return f"{(p <= ALPHA + 1e-12).mean():.3f}", len(p)


def contained(what: str, call: Callable[[], Any], runs: int, seed: int) -> tuple[str, str, int]:
    """The share of intervals that hold the truth, and their width."""
    inside, width = call()
    return f"{inside:.3f}", f"{width:.3f}", runs


GAINS = np.random.default_rng(3).uniform(0.5, 1.5, (3, 4))
"""How three subjects weigh the latents, where the subjects are the same in every run."""


def brains_and_models(
    rng: np.random.Generator, noises: list[float], n: int = 60, same: bool = True
) -> Pair:
    """Models that see four latents under noise of their own, and three subjects that do too."""
    latent = rng.standard_normal((n, 4))

    def see(noise: float, gains: np.ndarray) -> np.ndarray:
        basis, _ = np.linalg.qr(rng.standard_normal((8, 4)))
        return 2 * (latent * gains) @ basis.T + noise * rng.standard_normal((n, 8))

    weights = GAINS if same else rng.uniform(0.5, 1.5, GAINS.shape)
    models = np.stack([see(noise, np.ones(4)) for noise in noises])
    brain = np.stack([see(2.0, gains) for gains in weights])
    sides = (labelled(side[None], name).isel(run=0, drop=True) for side, name in
             ((models, "m"), (brain, "p")))  # fmt: skip
    a, b = sides
    return a, b.rename(model="subject")


def ranked(
    rng: np.random.Generator, noises: list[float], permuted: bool = False, layers: int = 1,
    n: int = 60, same: bool = True, regions: int = 0, **options: object,
) -> xr.Dataset:  # fmt: skip
    """What ``select_models`` says of one run; ``permuted``: the brain saw something else.

    ``regions``: that many, alike but for their noise.
    """
    a, b = brains_and_models(rng, noises, n, same)
    if regions:
        noisy = [b + 2.0 * rng.standard_normal(b.shape) for _ in range(regions)]
        b = xr.concat(noisy, "region").assign_coords(region=[f"r{i}" for i in range(regions)])
    if permuted:
        b = b.assign_coords(stimulus=b["stimulus"].values[rng.permutation(n)])
    if layers > 1:
        a = a.assign_coords(network=("model", [f"net {i // layers}" for i in range(len(noises))]))
    spread = xc.dispersion(a, "rdm", leave_out="network" if layers > 1 else "model")
    return xc.select_models(
        a, b, spread, rdm_metric="euclidean", n_draws=499, n_splits=5,
        rng=int(rng.integers(2**31)), **{"n_permutations": 0, **options},
    )  # fmt: skip


def ranking(runs: int, seed: int) -> Iterator[tuple[str, str, Callable[[], list[bool]]]]:
    """What is asked of ``select_models``, of which data, and whether it is so in every run."""
    one_better, equal = [2.5, 2.5, 1.5, 2.5, 2.5], [2.0] * 5

    def each(ask: Callable[[xr.Dataset], bool], *args: object, **options: object) -> list[bool]:
        return [
            ask(ranked(np.random.default_rng([seed, run]), *args, **options)) for run in range(runs)
        ]

    def least(name: str, subset: str = "all") -> Callable[[xr.Dataset], bool]:
        return lambda table: bool(table[name].sel(subset=subset).min() <= ALPHA + 1e-12)

    for n in (30, 60, 120):
        yield (
            "the best model comes first", f"one of 5 better, {n} stimuli",
            partial(each, lambda t: t["best"].values[0] == "m2", one_better, n=n, n_bins=1),
        )  # fmt: skip
    yield (
        "the best model is `among_best`", "one of 5 better, 60 stimuli",
        partial(each, lambda t: bool(t["among_best"].sel(model="m2")[0]), one_better, n_bins=1),
    )  # fmt: skip
    yield (
        "the best model comes first in bin 1 of 3", "one of 5 better, 60 stimuli, 3 bins",
        partial(each, lambda t: t["best"].values[1] == "m2", one_better),
    )  # fmt: skip
    for subset in ("all", "1 of 3"):
        yield (
            f"some difference is significant, corrected, {subset}", "5 equal models, 60 stimuli",
            partial(each, least("difference_p_value_max_t", subset), equal),
        )  # fmt: skip
    yield (
        "some model is above chance, corrected", "5 models, another brain",
        partial(
            each, least("p_value_max_t"), equal, permuted=True, n_bins=1,
            n_permutations=PERMUTATIONS,
        ),
    )  # fmt: skip
    yield (
        "some network is above chance, corrected", "2 networks of 3 layers, another brain",
        partial(
            each, least("p_value_max_t"), [2.0] * 6, permuted=True, layers=3, n_bins=1,
            n_permutations=PERMUTATIONS,
        ),
    )  # fmt: skip
    # ten times the work of others
    few, whole = max(runs // 5, 1), ["model", "region", "subset"]
    for name, over in (("all of them", None), ("model alone", ["model"])):
        some = partial(_some_of, corrected_over=over, regions=10, n_permutations=PERMUTATIONS)
        yield (
            f"some model is above chance, corrected over {name}",
            "3 models, 10 regions of another brain, 4 subsets",
            partial(some, "p_value_max_t", few, seed, whole, permuted=True),
        )  # fmt: skip
        yield (
            f"some difference is significant, corrected over {name}",
            "3 equal models, 10 regions, 4 subsets",
            partial(
                some, "difference_p_value_max_t", few, seed, [*whole, "model_2"],
                n_permutations=0,
            ),
        )  # fmt: skip
    for over, same in (("stimulus", True), ("both", False)):
        yield (
            f'the interval holds the truth, `over="{over}"`',
            f"5 equal models, {'the same' if same else 'new'} subjects",
            partial(_held, runs, seed, equal, over, same),
        )  # fmt: skip


def _some_of(name: str, runs: int, seed: int, dims: list[str], **options: object) -> list[bool]:
    """Whether any p-value over these dims is up to 0.05, in every run."""
    found = []
    for run in range(runs):
        table = ranked(np.random.default_rng([seed, run, 3]), [2.0] * 3, n=30, **options)
        found.append(bool(table[name].min(dims) <= ALPHA + 1e-12))
    return found


def _held(runs: int, seed: int, noises: list[float], over: str, same: bool) -> list[bool]:
    """Whether intervals hold the mean score of other runs."""
    first, second = (
        [
            ranked(np.random.default_rng([seed, part, run]), noises, same=same, over=over, n_bins=1)
            for run in range(runs)
        ]
        for part in (1, 2)
    )
    truth = np.mean([table["rsa"].sel(subset="all") for table in first])
    return [
        bool((table["lower"].values[m, 0] <= truth) & (truth <= table["upper"].values[m, 0]))
        for table in second
        for m in range(len(noises))
    ]


def share(what: str, call: Callable[[], list[bool]], runs: int, seed: int) -> tuple[str, int]:
    """In how many runs it is so."""
    found = call()
    return f"{np.mean(found):.3f}", min(len(found), runs)


REJECTS = ["test", "data", "rejects", "runs"]
HOLDS = ["interval", "new in every run", "holds", "width", "runs"]
TABLES = {
    "True nulls": ("tests", rejected, REJECTS, 1),
    "True nulls, without the remedy": ("wrong", rejected, REJECTS, 1),
    "Planted effects": ("power", rejected, REJECTS, 5),
    "Intervals": ("coverage", contained, HOLDS, 2),
    "Ranking models": ("ranking", share, ["what", "data", "share of runs", "runs"], 2),
}
"""Of each: its rows, what is told of one, the columns, and what the runs are divided by."""


def measure(runs: int, seed: int, titles: list[str]) -> dict[str, pd.DataFrame]:
    """The tables of these titles."""
    tables = {}
    for title in titles:
        rows, tell, columns, part = TABLES[title]
        tables[title] = table_of(rows, tell, columns, max(runs // part, 1), seed)
    return tables


def markdown(table: pd.DataFrame) -> str:
    """A table as markdown."""
    lines = [list(table.columns), ["---"] * table.shape[1], *table.values.tolist()]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def page(tables: dict[str, pd.DataFrame]) -> str:
    """docs/calibration.md with these tables in place of those that are there."""
    text = DOCS.read_text("utf-8")
    for title, table in tables.items():
        head, rest = text.split(f"## {title}\n", 1)
        before, _, after = rest.partition("| ")
        tail = after.split("\n\n", 1)
        text = f"{head}## {title}\n{before}{markdown(table)}\n\n{tail[1] if len(tail) > 1 else ''}"
    return text.rstrip("\n") + "\n"


def parser_of(what: str, runs: int) -> argparse.ArgumentParser:
    """What every benchmark of rates can be asked for; ``what`` begins with what it measures."""
    parser = argparse.ArgumentParser(description=what.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="a few runs, for the tests")
    parser.add_argument("--write", action="store_true", help="into docs/calibration.md")
    parser.add_argument("--runs", type=int, default=runs)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def write_one(what: str, title: str, measure: Callable[[int, int], pd.DataFrame]) -> None:
    """Make the one table of a benchmark of 300 runs, as the command line asks for it."""
    arguments = parser_of(what, 300).parse_args()
    table = measure(1 if arguments.short else arguments.runs, arguments.seed)
    if arguments.write:
        DOCS.write_text(page({title: table}), "utf-8")


def main() -> None:
    """Print the tables."""
    parser = parser_of(__doc__, 1000)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES), metavar="TITLE")
    arguments = parser.parse_args()
    runs = 1 if arguments.short else arguments.runs
    tables = measure(runs, arguments.seed, arguments.only)
    for title, table in tables.items():
        print(f"\n{title}\n{table.to_string(index=False)}")
    if arguments.write:
        DOCS.write_text(page(tables), "utf-8")


if __name__ == "__main__":
    # one process a core already: threads of BLAS would fight for them
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    main()
