"""How often ceilings hold the RSA that the brain without noise has with what was measured.

Run ``python -m tests.benchmarks.bench_ceilings`` for the tables, ``--write`` to put them into
docs/calibration.md, ``--short`` for a few runs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import xarray as xr

import xconverge as xc
from tests.benchmarks import bench_calibration
from tests.benchmarks.bench_calibration import DOCS

N, P = 20, 50
SUBJECTS, REPETITIONS = (2, 3, 4), (2, 3, 4, 5, 6, 7, 8)
NOISES = {
    "little noise": (1.0, 0.0),
    "much noise": (3.0, 0.0),
    "noise that grows over stimuli": (2.0, 0.7),
}
"""Standard deviation of the noise of features of about 1, and how it grows from the mean."""
BATCH = 50
"""Runs of one call."""
SINGLE, GROUP = "Ceilings of trials", "Ceilings of subjects and repetitions"


def measured(
    rng: np.random.Generator,
    runs: int,
    noise: str,
    repetitions: int,
    subjects: int,
    own: float = 0.0,
) -> tuple[xr.DataArray, xr.DataArray]:
    """RDMs without noise (run, subject, stimulus, stimulus_2), and trials of them.

    ``own`` is the share of the patterns' variance that each subject has for itself.
    """
    size, growth = NOISES[noise]

    def patterns(count: int) -> np.ndarray:
        latent, map_ = (rng.standard_normal((runs, count, *s)) for s in ((N, 4), (4, P)))
        return latent @ map_ / 2

    truth = np.sqrt(1 - own) * patterns(1) + np.sqrt(own) * patterns(subjects)
    sizes = size * (1 + growth * np.linspace(-1, 1, N)[:, None])
    x = truth[:, :, None] + sizes * rng.standard_normal((runs, subjects, repetitions, N, P))
    coords = {
        "subject": [f"S{i}" for i in range(subjects)],
        "stimulus": [f"s{i}" for i in range(N)],
    }
    dims = ("run", "subject", "repetition", "stimulus", "feature")
    trials = xr.DataArray(x, dims=dims, coords=coords)
    # what all subjects have is what a model of all of them can be
    shared = np.repeat(truth.mean(1, keepdims=True), subjects, 1)
    bare = xr.DataArray(shared, dims=[d for d in dims if d != "repetition"], coords=coords)
    return xc.rdm(bare, "sqeuclidean"), trials


def of_trials(
    rng: np.random.Generator, runs: int, noise: str, repetitions: int
) -> list[xr.DataArray]:
    """Truth, lower end, estimate and upper end, of one subject."""
    truth, trials = measured(rng, runs, noise, repetitions, 1)
    table = xc.trial_ceiling(trials, n_splits=20, rng=0)
    true = xc.rsa(truth, xc.rdm(trials, "crossnobis"), "pearson")
    return [true, table["lower"], table["ceiling"], table["upper"]]


def of_subjects(
    rng: np.random.Generator,
    runs: int,
    noise: str,
    repetitions: int,
    subjects: int,
    own: float = 0.0,
) -> list[xr.DataArray]:
    """Of the crossnobis RDMs of subjects."""
    truth, trials = measured(rng, runs, noise, repetitions, subjects, own)
    rdms = xc.rdm(trials, "crossnobis")
    table = xc.noise_ceiling(rdms, "pearson")
    true = xc.rsa(truth, rdms, "pearson").mean("subject")
    return [true, table["lower"], np.nan * true, table["upper"]]


def of_repetitions(
    rng: np.random.Generator,
    runs: int,
    noise: str,
    repetitions: int,
    subjects: int,
    over: str = "both",
) -> list[xr.DataArray]:
    """Of RDMs of single repetitions of subjects."""
    truth, trials = measured(rng, runs, noise, repetitions, subjects)
    rdms = xc.rdm(trials, "sqeuclidean")
    dims = ("subject", "repetition") if over == "both" else "repetition"
    table = xc.noise_ceiling(rdms, "pearson", over=dims)
    each = xc.rsa(truth, rdms, "pearson")
    true = each.mean(["subject", "repetition"] if over == "both" else "repetition")
    return [true, table["lower"], np.nan * true, table["upper"]]


def row(
    call: Callable[..., list[xr.DataArray]], runs: int, seed: int, *args: object
) -> dict[str, str]:
    """How often the truth is inside, above and below, and means of all."""
    rng = np.random.default_rng([seed, *map(ord, "".join(map(str, args)))])
    parts = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for start in range(0, runs, BATCH):
            found = call(rng, min(BATCH, runs - start), *args)
            parts.append([one.transpose(*found[0].dims).values.ravel() for one in found])
    true, lower, middle, upper = np.concatenate(parts, 1)
    off = 1e-9  # rounding
    below, above = (true < lower - off).mean(), (true > upper + off).mean()
    means = {"truth": true, "lower": lower, "estimate": middle, "upper": upper}
    return {
        "inside": f"{1 - below - above:.3f}",
        "truth below": f"{below:.3f}",
        "truth above": f"{above:.3f}",
        **{f"mean {name}": f"{part.mean():.2f}" for name, part in means.items()
           if not np.isnan(part).all()},
        "runs": str(runs),
    }  # fmt: skip


def trials_table(runs: int, seed: int, repetitions: tuple[int, ...] = REPETITIONS) -> pd.DataFrame:
    """``trial_ceiling``, a row for each noise and number of repetitions."""
    return pd.DataFrame(
        [
            {"data": noise, "repetitions": str(r), **row(of_trials, runs, seed, noise, r)}
            for noise in NOISES
            for r in repetitions
        ]
    )


def group_table(runs: int, seed: int, repetitions: tuple[int, ...] = REPETITIONS) -> pd.DataFrame:
    """``noise_ceiling``, a row for each call, noise and number of subjects and repetitions."""
    calls = {
        "subjects, crossnobis": of_subjects,
        "subjects that differ, crossnobis": partial(of_subjects, own=0.3),
        "repetitions": partial(of_repetitions, over="one"),
        "both": of_repetitions,
    }
    rows = []
    for name, call in calls.items():
        for noise in NOISES:
            for subjects in SUBJECTS:
                each = [row(call, runs, seed, noise, r, subjects) for r in repetitions]
                inside = [float(one["inside"]) for one in each]
                worst = each[int(np.argmin(inside))]
                rows.append(
                    {
                        "over": name,
                        "data": noise,
                        "subjects": str(subjects),
                        "least inside": f"{min(inside):.3f}",
                        "mean inside": f"{np.mean(inside):.3f}",
                        "at repetitions": str(repetitions[int(np.argmin(inside))]),
                        **{n: worst[n] for n in ("mean truth", "mean lower", "mean upper", "runs")},
                    }
                )
    return pd.DataFrame(rows)


TABLES = {SINGLE: trials_table, GROUP: group_table}


def main() -> None:
    """Print the tables."""
    parser = bench_calibration.parser_of(__doc__, 400)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES), metavar="TITLE")
    given = parser.parse_args()
    tables = {}
    for title in given.only:
        some = (2, 5) if given.short else REPETITIONS
        tables[title] = TABLES[title](2 if given.short else given.runs, given.seed, some)
        print(f"\n{title}\n{tables[title].to_string(index=False)}", flush=True)
    if given.write:
        DOCS.write_text(bench_calibration.page(tables), "utf-8")


if __name__ == "__main__":
    main()
