"""Split-half reliability against plain loops, and against new models of the same kind."""

import warnings
from itertools import combinations

import numpy as np
import pytest
import xarray as xr
from scipy.stats import spearmanr

import xconverge as xc
from tests.helpers import make_reps, no_compute, shuffled
from xconverge.kernels.split_half import halves, spearman_brown
from xconverge.kernels.split_half import summary as summed_up
from xconverge.testing import planted_study

NAMES = ["half_correlation", "reliability", "lower", "upper"]


def graded(n_models=6, n_stimuli=60, seed=0, spread=(0.1, 1.5), **options):
    """Models around one shared representation; how far off they are differs by stimulus."""
    reps = make_reps(n_models, n_stimuli, noise=0.0, seed=seed, **options)
    rng = np.random.default_rng(seed + 1)
    size = np.random.default_rng(99).permutation(np.linspace(*spread, n_stimuli))
    by = np.array([int(label[1:]) for label in reps["stimulus"].values])
    return reps + size[by][:, None] * rng.standard_normal(reps.shape).astype(reps.dtype)


def splits_by_label(names):
    """Every split of the names into halves, once, as sets of names."""
    names = sorted(names)
    size = len(names) // 2
    for one in combinations(names, size):
        if len(names) % 2 or names[0] in one:
            yield list(one), [name for name in names if name not in one]


def summary(r):
    """Mean of r over splits, then Spearman–Brown, once."""
    mean, lower, upper = (float(v) for v in (np.mean(r), *np.quantile(r, [0.025, 0.975])))
    return [mean, *(2 * v / (1 + v) for v in (mean, lower, upper))]


def values(table):
    return [float(table[name]) for name in NAMES]


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("n_models", [4, 5, 6])
@pytest.mark.parametrize("metric", ["cosine", "euclidean", "consensus", "neighborhood", "rdm"])
def test_it_is_the_correlation_of_the_dispersions_of_two_halves(metric, n_models):
    reps = graded(n_models)
    found = xc.reliability(reps, metric, k=5)
    r = []
    for one, other in splits_by_label(reps["model"].values):
        sides = [xc.dispersion(reps.sel(model=names), metric, k=5) for names in (one, other)]
        r.append(spearmanr(*sides).statistic)
    np.testing.assert_allclose(values(found), summary(r), rtol=1e-10)
    assert found["reliability"].attrs["n_splits"] == len(r)


@pytest.mark.slow
@pytest.mark.parametrize(
    "metric",
    ["neighborhood", "sqeuclidean", "consensus"],
)
def test_a_stimulus_drops_out_of_splits_that_lack_two_models_for_it(metric):
    reps = graded(5, missing=[(0, 3), (1, 3), (2, 7), (0, 9), (1, 9), (2, 9), (3, 9), (4, 11)])
    r = []
    for one, other in splits_by_label(reps["model"].values):
        pairs = xc.dispersion(reps, "sqeuclidean" if metric == "consensus" else metric,
                              pairwise=True, k=5)  # fmt: skip
        sides = []
        for names in (one, other):
            side = []
            for stimulus in reps["stimulus"].values:
                seen = [n for n in names if reps.sel(model=n, stimulus=stimulus).notnull().all()]
                d = [float(pairs.sel(model=a, model_2=b, stimulus=stimulus))
                     for a, b in combinations(seen, 2)]  # fmt: skip
                if metric == "consensus":  # Σ|x_m - z|² = Σ_pairs |x_m - x_l|² / M, over M - 1
                    d = [sum(d) / len(seen) / (len(seen) - 1)] if d else []
                side.append(np.mean(d) if d else np.nan)
            sides.append(side)
        r.append(spearmanr(*np.round(sides, 12), nan_policy="omit").statistic)
    np.testing.assert_allclose(values(xc.reliability(reps, metric, k=5)), summary(r), rtol=1e-10)


def test_halves_are_random_equal_and_follow_the_rank():
    rank = np.random.default_rng(0).permutation(11)
    first = halves(rank, 3, 100)
    assert first.shape == (100, 11)
    assert (first.sum(1) == 5).all()
    np.testing.assert_array_equal(first[:, np.argsort(rank)], halves(np.arange(11), 3, 100))
    assert len(np.unique(first, axis=0)) > 80
    assert abs(first.mean(0) - 5 / 11).max() < 0.2


@pytest.mark.parametrize(("n", "distinct"), [(4, 3), (5, 10), (6, 10), (7, 35), (8, 35)])
def test_few_splits_are_all_made_once(n, distinct):
    first = halves(np.arange(n), 0, distinct)
    assert len(first) == distinct
    either = {min(tuple(row), tuple(~row)) for row in first}
    assert len(either) == distinct
    assert len(halves(np.arange(n), 0, distinct - 1)) == distinct - 1


def test_spearman_brown():
    np.testing.assert_allclose(spearman_brown(np.array([0, 0.5, 1, -0.5])), [0, 2 / 3, 1, -2])
    assert np.isnan(spearman_brown(np.array([-1.0]))).all()


def test_the_mean_over_splits_comes_before_spearman_brown():
    r = [0.5, -0.5, np.nan, 0.3]
    with pytest.warns(RuntimeWarning, match="1 of 4 splits"):
        found = summed_up(np.array(r), 0.95, "stimuli")
    np.testing.assert_allclose(found[:2], [0.1, 0.2 / 1.1])
    # opposite orders are as good a split as any other: they stay in the mean
    found = summed_up(np.array([-1.0, 0.5, 0.8]), 0.95, "stimuli")
    np.testing.assert_allclose(found[:2], [0.1, 0.2 / 1.1])


def unrelated(runs, metric, n_models=6):
    """Mean reliability of models that share nothing on 12 stimuli, and its standard error."""
    found = []
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        x = {f"m{i}": rng.standard_normal((12, 8)) for i in range(n_models)}
        reps = xc.stack_models(x, stimuli=[f"s{i}" for i in range(12)])
        found.append(float(xc.reliability(reps, metric, k=3, rng=seed)["reliability"]))
    return np.mean(found), np.std(found) / np.sqrt(runs)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["rdm", "neighborhood"])
def test_models_that_share_nothing_have_almost_no_reliability(metric):
    # the mean of 2r / (1 + r) over splits would be -0.22 and -0.26
    mean, error = unrelated(150, metric)
    assert error < 0.03
    assert -0.1 < mean < 0.03


@pytest.mark.slow
def test_models_that_share_nothing_are_not_less_reliable_than_nothing():
    mean, error = unrelated(12, "rdm")
    assert mean > -0.17 + error


@pytest.mark.slow
def test_unrelated_sides_have_almost_no_alignment_reliability():
    # 9 pairs of models, 24 stimuli: -0.06, and -0.39 where 2r / (1 + r) is averaged over splits
    found = []
    for seed in range(24):
        a, b = (make_reps(3, 24, noise=5.0, seed=2 * seed + side) for side in (0, 1))
        table = xc.alignment_reliability(a, b, "rdm", n_splits=12, rng=seed)
        found.append(float(table["reliability"]))
    assert -0.2 < np.mean(found) < 0.1


def test_order_of_models_and_stimuli_changes_nothing():
    reps = graded(9)
    one = xc.reliability(reps, "neighborhood", k=5, n_splits=30, rng=1)
    other = xc.reliability(
        shuffled(shuffled(reps), 2, "model"), "neighborhood", k=5, n_splits=30, rng=1
    )
    xr.testing.assert_allclose(one, other, rtol=1e-12)
    again = xc.reliability(reps, "neighborhood", k=5, n_splits=30, rng=2)
    assert float(again["reliability"]) != float(one["reliability"])


@pytest.mark.parametrize("metric", ["cosine", "consensus", "rdm"])
def test_chunks_and_extra_dims_change_nothing(metric):
    reps = graded(5, 20, extra={"layer": 2})
    with no_compute():
        lazy = xc.reliability(reps.chunk(model=2, stimulus=7, feature=4, layer=1), metric)
    assert lazy["reliability"].chunks is not None
    assert lazy["reliability"].dims == ("layer",)
    for layer in reps["layer"].values:
        xr.testing.assert_allclose(
            lazy.sel(layer=layer).compute(), xc.reliability(reps.sel(layer=layer), metric)
        )


def test_names_of_dims_at_the_door_padding_and_components():
    reps = graded(5)
    expected = xc.reliability(reps, "cosine")
    names = {"model": "net", "stimulus": "image", "feature": "axis"}
    renamed = xc.from_xarray(reps.rename(names), **names)
    found = xc.reliability(renamed, "cosine")
    xr.testing.assert_equal(found, expected)
    padded = reps.pad(feature=(0, 2)).assign_coords(n_features=("model", [6] * 5))
    xr.testing.assert_equal(xc.reliability(padded, "cosine"), expected)
    component = reps.rename(feature="component")
    del component.attrs["space"]
    xr.testing.assert_equal(xc.reliability(component, "cosine"), expected)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(("n_models", "slack"), [(6, 0.15), (20, 0.07)])
def test_it_foresees_the_correlation_with_as_many_new_models(n_models, slack):
    truth, estimate = [], []
    for seed in range(12):
        reps = graded(2 * n_models, 100, seed, spread=(0.5, 0.8))
        mine, new = reps[:n_models], reps[n_models:]
        spreads = [xc.dispersion(part, "sqeuclidean") for part in (mine, new)]
        truth.append(spearmanr(*spreads).statistic)
        estimate.append(float(xc.reliability(mine, "sqeuclidean", rng=0)["reliability"]))
    assert 0.4 < np.mean(truth) < 0.9
    assert -slack < np.mean(estimate) - np.mean(truth) < 0.03


def test_noise_alone_is_not_reliable():
    half = []
    for seed in range(20):
        reps = graded(6, 100, seed, spread=(1.0, 1.0))
        half.append(float(xc.reliability(reps, "sqeuclidean")["half_correlation"]))
    assert abs(np.mean(half)) < 0.05


def test_too_few_models_are_nan_with_a_warning():
    for n_models in (2, 3):
        with pytest.warns(RuntimeWarning, match=f"at least 4 models.* got {n_models}: NaN"):
            found = xc.reliability(graded(n_models))
        assert np.isnan(values(found)).all()


def test_splits_without_a_correlation_are_left_out_with_a_warning():
    reps = graded(4, 20)
    for gone in (reps.isel(stimulus=slice(2)), xr.zeros_like(reps) + reps.isel(model=0)):
        gone.attrs["space"] = "shared"
        with pytest.warns(RuntimeWarning, match="3 of 3 splits have fewer than 3 stimuli"):
            assert np.isnan(values(xc.reliability(gone))).all()


def test_the_splits_that_are_left_count():
    reps = graded(5, 20)
    reps[0, 10:] = np.nan
    reps[1, :10] = np.nan
    with pytest.warns(RuntimeWarning, match="^1 of 10 splits .* left out"):
        found = xc.reliability(reps)
    assert np.isfinite(values(found)).all()


def test_unrelated_axes_warn_at_the_call():
    reps = make_reps(4, shared=False)
    for metric in ("cosine", "consensus"):
        with pytest.warns(xc.UnalignedSpaceWarning, match=f"metric='{metric}'") as record:
            xc.reliability(reps, metric)
        assert record[0].filename == __file__
    xc.reliability(reps, "neighborhood", k=3)


def test_wrong_arguments():
    reps = graded(4)
    with pytest.raises(ValueError, match="metric='cosin' is not known"):
        xc.reliability(reps, "cosin")
    with pytest.raises(ValueError, match="n_splits=0"):
        xc.reliability(reps, n_splits=0)
    with pytest.raises(ValueError, match="level=1"):
        xc.alignment_reliability(reps, reps, level=1)
    with pytest.raises(xc.SchemaError, match="differ in width"):
        xc.reliability(make_reps(4, widths=[3, 4, 5, 6]))
    with pytest.raises(TypeError, match="has no option sigma"):
        xc.alignment_reliability(reps, reps, sigma=2)


def test_what_is_written_down():
    found = xc.reliability(graded(5), "neighborhood", k=4, level=0.9)
    attrs = found["lower"].attrs
    assert attrs["long_name"].startswith("lower quantile over splits")
    assert (attrs["metric"], attrs["k"], attrs["level"], attrs["n_models"]) == (
        "neighborhood", 4, 0.9, 5,
    )  # fmt: skip
    for name in NAMES:
        assert found[name].name == name


@pytest.fixture(scope="module")
def sides():
    """Two sides whose models differ in noise, so that their pairs differ in alignment."""
    study = planted_study(4, 80, noise=(0.3, 0.3), rng=0)
    rng = np.random.default_rng(1)
    result = []
    for reps in study.values():
        noise = np.array([0.0, 0.15, 0.3, 0.6])[:, None, None] * rng.standard_normal(reps.shape)
        result.append(reps + noise)
    return result


def labels_of_halves(a, n_splits, rng):
    """Labels of both halves of every split, by the documented order of labels."""
    seed = int(np.random.default_rng(rng).integers(2**63))
    labels = sorted(a["stimulus"].values, key=lambda label: int(label.split()[-1]))
    for row in halves(np.arange(len(labels)), seed, n_splits):
        yield np.array(labels)[row], np.array(labels)[~row]


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["mutual_knn", "rdm", "cka", "cycle_knn", "procrustes", "rsa"])
def test_alignment_of_two_halves_of_the_stimuli(sides, metric):
    a, b = sides
    found = xc.alignment_reliability(a, shuffled(b), metric, pool="all", k=5, n_splits=6, rng=3)
    r = []
    for labels in labels_of_halves(a, 6, 3):
        scores = []
        for half in labels:
            if metric in ("mutual_knn", "rdm"):
                score = xc.alignment(a, b, metric, k=5).sel(stimulus=half).mean("stimulus")
            else:
                score = xc.alignment(a.sel(stimulus=half), b.sel(stimulus=half), metric, k=5)
            scores.append(score.values.ravel())
        r.append(spearmanr(*np.round(scores, 12)).statistic)
    np.testing.assert_allclose(values(found), summary(r), rtol=1e-9)
    assert float(found["half_correlation"]) > 0.4


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["mutual_knn", "rdm"])
def test_scores_inside_each_half(sides, metric):
    a, b = sides
    found = xc.alignment_reliability(a, b, metric, k=5, n_splits=3, rng=3)
    r = []
    for labels in labels_of_halves(a, 3, 3):
        scores = [
            xc.alignment(a.sel(stimulus=half), b.sel(stimulus=half), metric, k=5).mean("stimulus")
            for half in labels
        ]
        r.append(spearmanr(*np.round([score.values.ravel() for score in scores], 12)).statistic)
    np.testing.assert_allclose(values(found), summary(r), rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["mutual_knn", pytest.param("cka", marks=pytest.mark.slow)])
def test_alignment_order_and_chunks_change_nothing(sides, metric):
    a, b = sides
    one = xc.alignment_reliability(a, b, metric, n_splits=5, rng=0)
    other = xc.alignment_reliability(shuffled(a, 4), shuffled(b, 5), metric, n_splits=5, rng=0)
    xr.testing.assert_allclose(one, other, rtol=1e-9)
    with no_compute():
        lazy = xc.alignment_reliability(
            a.chunk(model=1, stimulus=30), b.chunk(model=1), metric, n_splits=5, rng=0
        )
    xr.testing.assert_allclose(one, lazy.compute(), rtol=1e-9)


@pytest.mark.slow
def test_alignment_with_missing_stimuli_and_other_sets(sides):
    a, b = (side.copy() for side in sides)
    a[1, 5:30] = np.nan
    b[2, 40:60] = np.nan
    found = xc.alignment_reliability(a, b, pool="all", k=5, n_splits=4, rng=0)
    scores = xc.alignment(a, b, k=5)
    # pairs that share fewer stimuli score more by chance
    scores = (scores - scores["chance"]) / (1 - scores["chance"])
    r = []
    for labels in labels_of_halves(a, 4, 0):
        means = [scores.sel(stimulus=half).mean("stimulus").values.ravel() for half in labels]
        r.append(spearmanr(*np.round(means, 12)).statistic)
    np.testing.assert_allclose(values(found), summary(r), rtol=1e-9)
    with pytest.raises(xc.SchemaError, match="same labels"):
        xc.alignment_reliability(a, b[:, :70])
    cut = xc.pair(a, b[:, :70], join="inner")
    inner = xc.alignment_reliability(*cut, k=5, n_splits=4, rng=0)
    assert inner["reliability"].attrs["n_dropped"] == 10


@pytest.mark.slow
@pytest.mark.parametrize(("pool", "expected"), [("half", 0.0), ("all", 0.22)])
def test_unrelated_sides_have_no_reliable_order_inside_halves(pool, expected):
    half = []
    for seed in range(20):
        a, b = (make_reps(6, 100, noise=5.0, seed=2 * seed + side) for side in (0, 1))
        found = xc.alignment_reliability(a, b, k=5, n_splits=5, pool=pool, rng=0)
        half.append(float(found["half_correlation"]))
    assert np.mean(half) == pytest.approx(expected, abs=0.08)


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["half", "all"])
def test_unrelated_sides_have_some_correlation_of_halves(pool):
    a, b = (make_reps(6, 100, noise=5.0, seed=side) for side in (0, 1))
    found = xc.alignment_reliability(a, b, k=5, n_splits=5, pool=pool, rng=0)
    assert found["half_correlation"].attrs["pool"] == pool
    assert abs(float(found["half_correlation"])) < 1


@pytest.mark.slow
def test_too_few_model_pairs_are_nan_with_a_warning(sides):
    a, b = sides
    for metric in ("mutual_knn", "cka"):
        with pytest.warns(RuntimeWarning, match="at least 3 model pairs, got 2: NaN"):
            found = xc.alignment_reliability(a[:2], b[:1], metric, n_splits=3)
        assert np.isnan(values(found)).all()


@pytest.mark.slow
def test_options_reach_the_metric(sides):
    a, b = sides
    found = xc.alignment_reliability(a, b, "cka", debiased=False, n_splits=3, rng=0)
    assert found["reliability"].attrs["debiased"] == 0
    other = xc.alignment_reliability(a, b, "cka", n_splits=3, rng=0)
    assert float(found["half_correlation"]) != float(other["half_correlation"])
    fitted = [
        xc.alignment_reliability(a, b, "linear_predictivity", n_splits=2, rng=0) for _ in range(2)
    ]
    xr.testing.assert_identical(*fitted)


@pytest.mark.parametrize("metric", ["rdm", "cosine", "consensus"])
def test_a_model_that_saw_nothing_is_named_and_leaves_the_others(metric):
    reps = graded(7, 30)
    empty = reps.copy(deep=True)
    empty[3] = np.nan
    right = xc.reliability(reps.drop_isel(model=3), metric, n_splits=6, rng=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="a score needs at least")
        with pytest.warns(RuntimeWarning, match="leaves out 'net3'"):
            found = xc.reliability(empty, metric, n_splits=6, rng=0)
    assert values(found) == values(right)
