"""What the tests of alignment share: two sides, options of metrics, maps of features."""

import numpy as np
from scipy.spatial.distance import pdist, squareform

import xconverge as xc
from tests.helpers import make_reps, shuffled
from xconverge.measures.alignment import MEASURES

PAIRS = [name for name, row in MEASURES.items() if row.per == "model pair"]
K = 3


def two_sides(n=24, missing=(), dtype=np.float64):
    a = make_reps(2, n, [5, 7], seed=1, shared=False, missing=list(missing), dtype=dtype)
    b = make_reps(3, n, [6, 4, 5], seed=2, shared=False, noise=1.0, dtype=dtype)
    b = b.drop_vars(["category", "caption"])
    b = b.assign_coords(stimulus=a["stimulus"].values, model=["x", "y", "z"])
    common = a.isel(model=0, feature=slice(0, 4)).fillna(0).values
    b[:, :, :4] += 2 * common
    return a, shuffled(b, 3)


def one_pair(n=24, dtype=np.float64):
    a, b = two_sides(n, dtype=dtype)
    a, b = a.isel(model=[1]), b.isel(model=[0])
    b = b.sel(stimulus=a["stimulus"].values)
    return a, b, a.values[0].astype(np.float64), b.values[0, :, :6].astype(np.float64)


def ragged_sides(dtype=np.float64, missing=True, **options):
    """Models of several widths, some of which miss stimuli."""
    gaps = ([(0, 2), (1, 2), (1, 5)], [(0, 7)]) if missing else ([], [])
    a = make_reps(3, 12, [6, 4, 5], seed=1, missing=gaps[0], dtype=dtype, **options)
    b = make_reps(2, 12, [7, 5], seed=2, missing=gaps[1], dtype=dtype, **options)
    return a, b.assign_coords(model=["bert", "gpt"]).assign_attrs(modality="language")


def one_model(reps, name):
    """Its rows without the padding, in double."""
    array = reps.sel(model=name)
    return array.values[:, : int(array["n_features"])].astype(np.float64)


def plain_rdm(x, metric):
    """SciPy's distances, NaN where a stimulus was not seen."""
    n = len(x)
    result = np.full((n, n), np.nan)
    seen = [i for i in range(n) if not np.isnan(x[i]).any()]
    result[np.ix_(seen, seen)] = squareform(pdist(x[seen], metric))
    return result


TOLERANCE = {np.float64: 1e-10, np.float32: 2e-5}


def options(metric):
    given = {"svcca": {"n_components": 2, "folds": 3}, "linear_predictivity": {"folds": 3}}
    return {"k": K, "rng": 0, **given.get(metric, {})}


MAPS = {
    "rotation": lambda x, rng: x @ np.linalg.qr(rng.standard_normal((8, 8)))[0],
    "translation": lambda x, rng: x + 2 * rng.standard_normal(8),
    "scale": lambda x, rng: 3.7 * x,
    "row norm": lambda x, rng: x * np.exp(rng.standard_normal((len(x), 1))),
}


def gaussian(seed, n=1000, d=768, dtype=np.float32):
    x = np.random.default_rng(seed).standard_normal((n, d)).astype(dtype)
    return xc.stack_models({f"g{seed}": x}, stimuli=[f"s{i}" for i in range(n)])
