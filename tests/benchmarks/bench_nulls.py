"""How often maps that have nothing to do with each other are called related, by every null.

Run ``python -m tests.benchmarks.bench_nulls`` for the tables, ``--write`` to put them into
docs/calibration.md, ``--short`` for a few runs, ``--only`` for some tables, ``--keep FILE`` to add
runs to those that a file holds.
"""

from __future__ import annotations

import json
import resource
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import pandas as pd
import xarray as xr

import xconverge as xc
from tests.benchmarks import bench_calibration
from tests.benchmarks.bench_calibration import ALPHA, DOCS
from tests.benchmarks.competing_nulls import (
    COMPETITORS,
    DRAWS,
    eigenvectors,
    moran_drawn,
    moran_vectors,
    of_draws,
)
from xconverge.cli.demo import shipped
from xconverge.inference.geometry import squares_of
from xconverge.kernels import mixed_model
from xconverge.kernels.mixed_model import Likeness, fit, lower_factor, regress, whiten
from xconverge.kernels.nulls import Surrogates, all_orders
from xconverge.kernels.related_maps import standard_ranks, tail_of
from xconverge.labels.joins import natural_rank

Found = Iterator[tuple[str, dict[str, float]]]
"""Of one run: names of rows, and the p-value of every column."""


class Field:
    """The mixed model of one map."""

    def __init__(
        self,
        likeness: Likeness,
        values: np.ndarray,
        most: int = mixed_model.FITTED_ON,
        seed: int = 0,
    ) -> None:
        self.most = most
        self.ranked = standard_ranks(values)[:, None]
        where = np.arange(len(values))
        with patch.object(mixed_model, "FITTED_ON", most):
            variances = fit(self.ranked[:, 0], np.ones((len(values), 1)), likeness, where, seed)
        self.factor, _ = lower_factor(likeness.covariance(variances, where))

    def t(self, predictor: np.ndarray) -> tuple[float, int]:
        """Of the regression of the map on another, and its degrees of freedom."""
        design = np.ones((len(predictor), 1))
        (response, other), freedom = whiten(
            self.factor, design, self.ranked, standard_ranks(predictor)[:, None]
        )
        return float(regress(response, other, freedom)[0]), freedom

    def p_value(self, predictor: np.ndarray) -> float:
        """Of that regression."""
        t, freedom = self.t(predictor)
        return float(tail_of(np.array([t]), freedom, "two-sided")[0])


def mixed(likeness: Likeness, alignment: Field, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """P-values of both regressions together, and of that of the alignment alone.

    The larger p is above 0.05 where one is, and then the other is not made.
    """
    one = alignment.p_value(x)
    other = Field(likeness, x, alignment.most).p_value(y) if one <= ALPHA else 0.0
    return {"mixed": max(one, other), "alignment's alone": one}


def surrogates(likeness: Likeness, x: np.ndarray, y: np.ndarray, seed: int) -> float:
    """P-value of a rank correlation among those of dispersion dealt as surrogates lie."""
    drawn = Surrogates(np.arange(len(x)), seed, Field(likeness, x).factor)
    orders = all_orders(drawn, x, np.ones(len(x), bool), DRAWS)
    return of_draws(x[orders[1:]], x, y)


class Emoji(NamedTuple):
    """What there is of the shipped set: which stimuli are alike, and both maps."""

    vision: xr.DataArray
    language: xr.DataArray
    spread: xr.DataArray
    agreement: xr.DataArray
    squares: list[np.ndarray]
    codes: list[np.ndarray]

    def likeness(self, where: np.ndarray, kernels: str = "both") -> Likeness:
        """Of some stimuli: kernels of both sides and categories, or of fewer."""
        squares = [one[np.ix_(where, where)] for one in self.squares]
        codes = [one[where] for one in self.codes]
        return {
            "both": Likeness(squares, codes),
            "vision": Likeness(squares[:1], codes),
            "no categories": Likeness(squares, []),
        }[kernels]


@cache
def emoji(step: int = 1) -> Emoji:
    """The shipped set, or every so many emoji of it, of neural vision models."""
    with shipped() as folder:
        vision, language = (
            xc.open_representations(folder / "demo.zarr", side).load()[:, ::step]
            for side in ("vision", "language")
        )
    vision = vision.isel(model=np.flatnonzero(vision["family"].values == "neural"))
    # as tests have them, so that p-values are those of `modulation` to the last digit
    order = np.argsort(natural_rank(vision.indexes["stimulus"]))
    vision, language = vision[:, order], language.sel(stimulus=vision["stimulus"][order])
    vision, language = vision.astype(np.float32), language.astype(np.float32)
    return Emoji(
        vision,
        language,
        xc.dispersion(vision, "neighborhood", k=10),
        xc.alignment(vision, language, "mutual_knn", k=10).mean(["model_a", "model_b"]),
        [squares_of(side).values for side in (vision, language)],
        [np.unique(vision[name], return_inverse=True)[1] for name in ("group", "subgroup")],
    )


@cache
def smooth_factor(step: int, side: int, length: float, rough: bool) -> np.ndarray:
    """Factor of a field over one side: Gaussian, or exponential, in median distances."""
    square = emoji(step).squares[side]
    square = square / np.median(square[np.triu_indices(len(square), 1)])
    n = len(square)
    values = np.exp(-np.sqrt(square) / length) if rough else np.exp(-square / (2 * length**2))
    return lower_factor(values + 1e-6 * np.eye(n))[0]


@cache
def moran_basis(step: int, nearest: int = 0) -> np.ndarray:
    """Eigenvectors for Moran randomisation over both sides of the emoji together.

    Or of graphs of the nearest neighbours in vision.
    """
    if nearest:
        square = emoji(step).squares[0].copy()
        np.fill_diagonal(square, np.inf)
        weights = np.zeros_like(square)
        np.put_along_axis(weights, np.argpartition(square, nearest)[:, :nearest], 1.0, axis=1)
        return eigenvectors((weights + weights.T) / 2)
    like = emoji(step).likeness(np.arange(len(emoji(step).codes[0])))
    pairs = zip(like.squares, like.units, strict=True)
    return moran_vectors(np.sum([square / unit for square, unit in pairs], axis=0))


def placebos(rng: np.random.Generator, step: int) -> Iterator[tuple[str, np.ndarray]]:
    """Maps over the emoji that know nothing of how they align."""
    there = emoji(step)
    n = len(there.codes[0])
    drawn = {}
    for side, name in enumerate(("vision", "language")):
        for length, rough in ((0.4, False), (1.0, False), (0.25, False), (0.5, True)):
            what = "exponential" if rough else "smooth"
            values = smooth_factor(step, side, length, rough) @ rng.standard_normal(n)
            drawn[f"{what} over {name}, {length:g}"] = values
    groups, subgroups = (rng.standard_normal(codes.max() + 1)[codes] for codes in there.codes)
    drawn["groups + smooth over vision, 0.4"] = groups + drawn["smooth over vision, 0.4"]
    values = standard_ranks(there.spread.values)
    drawn["Moran"] = moran_drawn(values, moran_basis(step), 1, rng)[0]
    of = there.codes[1]
    means = np.bincount(of, values) / np.bincount(of)
    drawn["subgroup means dealt anew"] = rng.permutation(means)[of] + rng.permutation(
        values - means[of]
    )
    drawn["groups"], drawn["subgroups"] = groups, subgroups
    for name in ("vision", "language"):
        smooth = drawn[f"smooth over {name}, 0.4"]
        drawn[f"smooth over {name}, 0.4, and as much noise"] = smooth + rng.standard_normal(n)
    near = moran_basis(step, 10)
    drawn["Moran, nearest 10 in vision"] = moran_drawn(values, near, 1, rng)[0]
    yield from drawn.items()


@cache
def emoji_field(step: int, kernels: str, most: int = 2000) -> tuple[Likeness, Field]:
    """Kernels over all emoji, and the model of their alignment."""
    there = emoji(step)
    likeness = there.likeness(np.arange(len(there.codes[0])), kernels)
    return likeness, Field(likeness, there.agreement.values, most)


def emoji_maps(run: int, seed: int, step: int = 1) -> Found:
    """Placebos for dispersion over all emoji, against the alignment as it is."""
    y = emoji(step).agreement.values
    rng = np.random.default_rng([seed, run])
    for name, x in placebos(rng, step):
        found = {}
        for kernels, column, most in (
            ("both", "", 2000),
            ("both", "fitted on 500", 500),
            ("vision", "kernels of vision", 2000),
            ("no categories", "no categories", 2000),
        ):
            told = mixed(*emoji_field(step, kernels, most), x, y)
            found |= told if not column else {column: told["mixed"]}
        yield name, found | {"labels": COMPETITORS["labels"](x, y, moran_basis(step), rng)}


def every_test(
    likeness: Likeness,
    x: np.ndarray,
    y: np.ndarray,
    rng: np.random.Generator,
    competitors: bool = True,
) -> dict[str, float]:
    """P-values of all nulls, of maps over few stimuli."""
    found = mixed(likeness, Field(likeness, y), x, y)
    found["surrogates"] = surrogates(likeness, x, y, int(rng.integers(2**31)))
    pairs = zip(likeness.squares, likeness.units, strict=True)
    square = np.sum([one / unit for one, unit in pairs], axis=0)
    for name, test in COMPETITORS.items():
        if competitors or name == "labels":
            found[name] = test(x, y, square, rng)
    return found


def emoji_subsets(run: int, seed: int, step: int = 1, size: int = 92) -> Found:
    """Placebos on some of the emoji, taken at random."""
    rng = np.random.default_rng([seed, run, 1])
    there = emoji(step)
    where = np.sort(rng.permutation(len(there.codes[0]))[:size])
    y = there.agreement.values[where]
    like, alone, none = (there.likeness(where, k) for k in ("both", "vision", "no categories"))
    for name, x in placebos(rng, step):
        found = every_test(like, x[where], y, rng)
        for column, other in (("kernels of vision", alone), ("no categories", none)):
            found[column] = mixed(other, Field(other, y), x[where], y)["mixed"]
        yield name, found


PLACES = {"12 clusters, 5-D": (1.1, 0.1), "square, 2-D": (0.2, 0.1), "cloud, 8-D": (4.0, 0.05)}
"""Synthetic stimuli: length of their maps, and the share of noise in them."""


def places(name: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Where stimuli lie (n, d)."""
    if name.endswith("2-D"):
        return rng.random((n, 2))
    if name.endswith("8-D"):
        return rng.standard_normal((n, 8))
    return rng.standard_normal((12, 5))[np.arange(n) % 12] + 0.3 * rng.standard_normal((n, 5))


def synthetic(
    name: str, n: int, rng: np.random.Generator, count: int
) -> tuple[Likeness, np.ndarray, np.ndarray]:
    """Which stimuli are alike, maps (count, n) that are independent of each other, their factor."""
    x = places(name, n, rng)
    square = ((x[:, None] - x) ** 2).sum(-1)
    length, noise = PLACES[name]
    factor = np.linalg.cholesky((1 - noise) * np.exp(-square / (2 * length**2)) + noise * np.eye(n))
    return Likeness([square], []), rng.standard_normal((count, n)) @ factor.T, factor


def four_levels(values: np.ndarray) -> np.ndarray:
    """Heavy ties."""
    low, high = values.min(), values.max()
    return np.round(3 * (values - low) / (high - low))


def synthetic_maps(run: int, seed: int, sizes: tuple[int, ...] = (60, 92, 120)) -> Found:
    """Independent maps with one covariance."""
    for name in PLACES:
        for n in sizes:
            rng = np.random.default_rng([seed, run, n])
            like, (x, y), _ = synthetic(name, n, rng, 2)
            yield f"{name}, {n}", every_test(like, x, y, rng, competitors=n == sizes[-2])
            x, y = four_levels(x), four_levels(y)
            yield f"{name}, {n}, four levels", every_test(like, x, y, rng, competitors=False)


def power(run: int, seed: int) -> Found:
    """Maps that share half of their variance; the oracle knows their covariance."""
    n = 92
    for name, (length, _) in PLACES.items():
        rng = np.random.default_rng([seed, run, 2])
        like, maps, factor = synthetic(name, n, rng, 3)
        smooth = np.exp(-like.squares[0] / (2 * length**2))
        field, _ = lower_factor(smooth + 1e-9 * np.eye(n))
        for kind, common, own in (
            ("", maps[0], factor @ factor.T),
            (
                ", all that is shared smooth",
                field @ rng.standard_normal(n),
                (smooth + factor @ factor.T) / 2,
            ),
        ):
            x, y = (common + maps[1]) / np.sqrt(2), (common + maps[2]) / np.sqrt(2)
            (response, other), freedom = whiten(
                lower_factor(own)[0], np.ones((n, 1)), y[:, None], x[:, None]
            )
            oracle = tail_of(regress(response, other, freedom), freedom, "two-sided")[0]
            yield f"{name}{kind}", {"oracle": float(oracle), **every_test(like, x, y, rng)}


@cache
def pictures() -> tuple[xr.DataArray, xr.DataArray, xr.DataArray, np.ndarray]:
    """The 92 images: models, brain, dispersion, and codes of categories."""
    with shipped() as folder:
        brain = xc.open_store(folder / "demo.zarr")["images92_it/rdm"].load()
        models = xc.open_representations(folder / "demo.zarr", "images92").load()
    codes = np.unique(models["category"], return_inverse=True)[1]
    spread = xc.dispersion(models, "neighborhood", k=10)
    return models.astype(np.float32), brain.mean(["subject", "session"]), spread, codes


def picture_bins(run: int, seed: int) -> Found:
    """Placebos for the dispersion that makes the bins of RSA with human IT."""
    models, brain, spread, codes = pictures()
    rng = np.random.default_rng([seed, run, 3])
    square = squares_of(models).values
    unit = np.median(square[np.triu_indices(92, 1)])
    factor, _ = lower_factor(np.exp(-square / (2 * 0.4**2 * unit)) + 1e-6 * np.eye(92))
    effects = rng.standard_normal(codes.max() + 1)[codes]
    smooth = factor @ rng.standard_normal(92)
    for name, values in (
        ("smooth over models, 0.4", smooth),
        ("categories + smooth", effects + smooth),
        ("categories + noise", effects + 0.1 * rng.standard_normal(92)),
    ):
        found = {}
        for column, options in (
            ("surrogates", {"groups": "category"}),
            ("labels", {"null": "labels"}),
            ("blocks", {"null": "blocks", "blocks": "category"}),
        ):
            table = xc.binned_rsa_contrast(
                models, brain, spread.copy(data=values), n_permutations=99, rng=run, **options
            )
            found[column] = float(table["low_minus_high_p_value"])
        yield name, found


def labelled(values: np.ndarray, *dims: str) -> xr.DataArray:
    """Maps with the labels of stimuli."""
    names = [f"s{i}" for i in range(values.shape[-1])]
    return xr.DataArray(values, dims=(*dims, "stimulus"), coords={"stimulus": names})


def geometry_of(like: Likeness) -> xr.DataArray:
    """An RDM of squared distances."""
    square = like.squares[0]
    names = [f"s{i}" for i in range(len(square))]
    return xr.DataArray(
        square,
        dims=("stimulus", "stimulus_2"),
        coords={"stimulus": names, "stimulus_2": names},
        attrs={"metric": "sqeuclidean"},
    )


def uneven_pairs(run: int, seed: int, n: int = 92) -> Found:
    """Pairs some of which are smooth and some mere noise."""
    for name in PLACES:
        rng = np.random.default_rng([seed, run, 4])
        like, maps, _ = synthetic(name, n, rng, 7)
        x, smooth = maps[0], maps[1:]
        share = np.array([0.0, 0.0, 0.5, 0.5, 0.95, 0.95])[:, None]
        y = np.sqrt(1 - share) * smooth + np.sqrt(share) * rng.standard_normal(smooth.shape)
        mean, of_x = Field(like, y.mean(0)), Field(like, x)
        for kind, rows in (("smooth", (0, 1)), ("half noise", (2, 3)), ("noise", (4, 5))):
            for row in rows:
                shared, own = Field(like, y[row]), Field(like, y[row])
                shared.factor = mean.factor
                back = of_x.p_value(y[row])
                yield (
                    f"{name}, {kind} pairs",
                    {
                        "mixed, ratios of the mean": max(shared.p_value(x), back),
                        "mixed, ratios of each": max(own.p_value(x), back),
                        "alignment's alone, of the mean": shared.p_value(x),
                        "alignment's alone, of each": own.p_value(x),
                    },
                )


def time_bins(run: int, seed: int, n: int = 60, bins: int = 20) -> Found:
    """The smallest corrected p over bins in time; no map has to do with dispersion."""
    rng = np.random.default_rng([seed, run, 5])
    for name in ("12 clusters, 5-D",):
        like, maps, _ = synthetic(name, n, rng, 1 + bins)
        near = np.exp(-(np.subtract.outer(np.arange(bins), np.arange(bins)) ** 2) / (2 * 3**2))
        over_time = np.linalg.cholesky(near + 1e-6 * np.eye(bins))
        for kind, y in (("independent", maps[1:]), ("smooth over time", over_time @ maps[1:])):
            table = xc.modulation(
                labelled(maps[0]), labelled(y, "time"), geometry=geometry_of(like), n_bins=2,
                n_permutations=999, rng=run,
            )  # fmt: skip
            found = {"uncorrected": float(table["p_value"].min())}
            for correction in ("max_t", "bh", "cluster"):
                if f"p_value_{correction}" in table:
                    found[correction] = float(table[f"p_value_{correction}"].min())
            yield f"{name}, {bins} bins, {kind}", found


def many_covariates(run: int, seed: int, n: int = 60) -> Found:
    """Maps that covariates make alike, with slopes of either side at random."""
    for name in PLACES:
        for count in (1, 10):
            rng = np.random.default_rng([seed, run, 6, count])
            like, maps, _ = synthetic(name, n, rng, 2 + count)
            covariates = maps[2:] if run % 2 else rng.standard_normal((count, n))
            x, y = (
                row + rng.standard_normal(count) @ covariates / np.sqrt(count) for row in maps[:2]
            )
            given = [labelled(row) for row in covariates]
            found = {}
            for column, options in (
                ("mixed", {"geometry": geometry_of(like)}),
                ("labels", {"null": "labels"}),
            ):
                table = xc.modulation(
                    labelled(x), labelled(y), covariates=given, n_bins=2, n_permutations=DRAWS,
                    rng=run, **options,
                )  # fmt: skip
                found[column] = float(table["p_value"])
            yield f"{name}, {n} stimuli, {count} covariates", found


def random_slopes(run: int, seed: int, n: int = 92, models: int = 6) -> Found:
    """Pairs whose slopes are those of their models, 0 on average; is the mean called related?"""
    rng = np.random.default_rng([seed, run, 7])
    for name in PLACES:
        like, maps, _ = synthetic(name, n, rng, 2)
        a, b = 0.3 * rng.standard_normal((2, models))
        y = (a[:, None, None] + b[:, None]) * maps[0] + np.sqrt(0.3) * maps[1]
        y = y + np.sqrt(0.7) * rng.standard_normal((models, models, n))
        table = xc.modulation(
            labelled(maps[0]), labelled(y, "model_a", "model_b").assign_coords(
                model_a=[f"a{i}" for i in range(models)], model_b=[f"b{i}" for i in range(models)]
            ), geometry=geometry_of(like), n_bins=2, n_permutations=0, rng=run,
        )  # fmt: skip
        low, high = (float(table[f"mean_correlation_{end}"]) for end in ("lower", "upper"))
        yield (
            f"{name}, {models} x {models} models, slopes N(0, 0.3)",
            {
                "p over stimuli alone": float(table["mean_p_value"]),
                "interval leaves out 0": 0.0 if low > 0 or high < 0 else 1.0,
            },
        )


def fewer_fitted(step: int = 1, seeds: int = 3) -> pd.DataFrame:
    """What t comes out as where variances are fitted on some of the emoji only."""
    there = emoji(step)
    y, n = there.agreement.values, len(there.codes[0])
    like = there.likeness(np.arange(n))
    spreads = {"neighborhood": there.spread, "rdm": xc.dispersion(there.vision, "rdm")}
    rows = []
    for most in (250, 500, 1000, 2000):
        draws = range(seeds if most < n else 1)
        fields = [Field(like, y, most, seed) for seed in draws]
        row = {"data": f"fitted on {min(most, n)}"}
        for name, spread in spreads.items():
            x = spread.values
            several = {
                "alignment's": [field.t(x)[0] for field in fields],
                "dispersion's": [Field(like, x, most, seed).t(y)[0] for seed in draws],
            }
            for side, t in several.items():
                ends = sorted({f"{value:.1f}" for value in (min(t), max(t))}, key=float)
                row[f"{name}, t of {side}"] = " to ".join(ends)
        rows.append({**row, "draws": str(len(draws))})
    return pd.DataFrame(rows)


def costs(stimuli: int = 10_000, step: int = 1) -> pd.DataFrame:
    """Seconds of a test of all pairs of the emoji, and of one pair of many stimuli; the memory."""
    there = emoji(step)
    scores = xc.alignment(there.vision, there.language, "mutual_knn", k=10).compute()
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((stimuli, 6))
    sides = [
        bench_calibration.labelled(
            (latent @ rng.standard_normal((6, 16)) + rng.standard_normal((stimuli, 16)))[
                None, None
            ],
            name,
        ).isel(run=0, drop=True)
        for name in ("vision", "language")
    ]
    maps = [labelled(np.sin(side) + rng.standard_normal(stimuli)) for side in latent.T[:2]]
    rows = []
    for name, call in (
        (
            f"{scores[..., 0].size} pairs, {scores.sizes['stimulus']:,} stimuli",
            partial(
                xc.modulation, there.spread, scores, geometry=(there.vision, there.language),
                groups=("group", "subgroup"), rng=0,
            ),
        ),
        (
            f"1 pair, {stimuli:,} stimuli, 1,000 draws",
            partial(xc.modulation, *maps, geometry=sides, n_permutations=1000, rng=0),
        ),
    ):  # fmt: skip
        begin, busy = time.perf_counter(), time.process_time()
        call()
        taken, busy = time.perf_counter() - begin, time.process_time() - busy
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        rows.append(
            {"data": name, "seconds": f"{taken:.0f}", "of processor": f"{busy:.0f}",
             "most memory, GB": f"{most:.1f}"}
        )  # fmt: skip
    return pd.DataFrame(rows)


TABLES: dict[str, tuple[Callable[[int, int], Found], int]] = {
    "Placebo maps on the emoji": (emoji_maps, 1),
    "Placebo maps on 92 emoji": (emoji_subsets, 1),
    "Maps over synthetic stimuli": (synthetic_maps, 1),
    "Maps that share half of their variance": (power, 1),
    "Placebo bins of the 92 images": (picture_bins, 1),
    "Pairs of differing smoothness": (uneven_pairs, 1),
    "Bins in time": (time_bins, 3),
    "Covariates with random slopes": (many_covariates, 1),
    "Models with random slopes": (random_slopes, 1),
}
"""Of each: one run of it, and what the runs are divided by."""
SHORT: dict[str, Callable[[int, int], Found]] = {
    "Placebo maps on the emoji": partial(emoji_maps, step=11),
    "Placebo maps on 92 emoji": partial(emoji_subsets, step=11, size=40),
    "Maps over synthetic stimuli": partial(synthetic_maps, sizes=(30, 40)),
    "Bins in time": partial(time_bins, n=30, bins=3),
}


SINGLE: dict[str, tuple[Callable[[], pd.DataFrame], Callable[[], pd.DataFrame]]] = {
    "Variances fitted on fewer emoji": (fewer_fitted, partial(fewer_fitted, 11, 1)),
    "Time and memory": (costs, partial(costs, 200, 11)),
}
"""Tables that are made once, and in short."""
ALL = [*TABLES, *SINGLE]


def rates(found: list[tuple[str, dict[str, float]]]) -> pd.DataFrame:
    """Shares of p-values up to 0.05, and how many there are."""
    rows: dict[str, list[dict[str, float]]] = {}
    for name, p_values in found:
        rows.setdefault(name, []).append(p_values)
    table = []
    for name, runs in rows.items():
        p = pd.DataFrame(runs)
        shares = {column: f"{(p[column].dropna() <= ALPHA + 1e-12).mean():.3f}" for column in p}
        table.append({"data": name, **shares, "runs": str(len(runs))})
    return pd.DataFrame(table).fillna("–")


def measure(
    title: str, runs: int, seed: int, short: bool = False, keep: Path | None = None,
    minutes: float = np.inf,
) -> pd.DataFrame:  # fmt: skip
    """A table; runs that ``keep`` holds are not made again."""
    call, part = TABLES[title]
    call = SHORT.get(title, call) if short else call
    lines = keep.read_text("utf-8").splitlines() if keep and keep.exists() else []
    known = [line for line in map(json.loads, lines) if line[:2] == [title, seed]]
    found = [(name, p) for *_, name, p in known]
    begin = time.monotonic()
    for run in range(max((line[2] for line in known), default=-1) + 1, max(runs // part, 1)):
        if time.monotonic() - begin > 60 * minutes:
            break
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            new = list(call(run, seed))
        found += new
        if keep:
            with keep.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps([title, seed, run, *one]) + "\n" for one in new)
    return rates(found)


def main() -> None:
    """Print the tables."""
    parser = bench_calibration.parser_of(__doc__, 300)
    parser.add_argument("--only", nargs="+", choices=ALL, default=ALL, metavar="TITLE")
    parser.add_argument("--keep", type=Path, help="file of runs, read and added to")
    parser.add_argument("--minutes", type=float, default=np.inf, help="at most, a table")
    given = parser.parse_args()
    tables = {}
    for title in given.only:
        runs = 2 if given.short else given.runs
        if title in SINGLE:
            tables[title] = SINGLE[title][given.short]()
        else:
            tables[title] = measure(title, runs, given.seed, given.short, given.keep, given.minutes)
        print(f"\n{title}\n{tables[title].to_string(index=False)}", flush=True)
    if given.write:
        DOCS.write_text(bench_calibration.page(tables), "utf-8")


if __name__ == "__main__":
    main()
