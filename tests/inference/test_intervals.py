"""Draws of stimuli and models and their intervals, against plain loops."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from scipy.stats import spearmanr, t

import xconverge as xc
from tests import oracles
from tests.helpers import make_reps, shuffled
from xconverge.engine.pair import Pair
from xconverge.engine.scores import models
from xconverge.kernels import intervals
from xconverge.kernels import permutations as kernels
from xconverge.kernels.kernel import resampled
from xconverge.labels.messages import SchemaError
from xconverge.measures.alignment import plan_of

NEIGHBORS = ["mutual_knn", "cycle_knn", "lcs_knn", "edit_distance_knn"]


def two_sides(missing=0.0, n=24, seed=0):
    a = make_reps(2, n, [5, 3], seed, missing=missing, shared=False)
    return a, make_reps(3, n, [4, 6, 5], seed + 1, missing=missing, shared=False)


def drawn(metric, a, b, fraction, **options):
    """Scores of drawn stimuli, how often each was drawn, and the sides in one order."""
    pair = Pair(a, b, 0)
    plan = plan_of(pair, metric, options)
    plan = replace(plan, kernel=plan.kernel.for_draws(a.sizes["stimulus"]))

    def counts(common=None):
        return kernels.resamples(pair.rank.values, 3, 0, usable=common, count=10, fraction=fraction)

    sides = (list(side.values) for side in models(plan, pair))
    return resampled(plan.kernel, *sides, counts), counts(), pair.a, pair.b


def scored(a, b, metric, options):
    found = xc.alignment(a, b, metric, **options)
    found = found.mean("stimulus") if "stimulus" in found.dims else found
    return found.transpose("model_a", "model_b")


@pytest.mark.slow_after(5)
@pytest.mark.parametrize("missing", [0.0, 0.15])
@pytest.mark.parametrize(
    ("metric", "options"),
    [
        *((metric, {"k": 3}) for metric in [*NEIGHBORS, "cknna"]),
        ("cknna", {"k": 3, "centered": True}),
        ("cka", {}), ("cka", {"debiased": False}), ("cka", {"kernel": "rbf"}),
        ("distance_correlation", {}), ("distance_correlation", {"debiased": False}),
        ("rdm", {}), ("rsa", {}), ("rsa", {"method": "pearson"}),
    ],
    ids=str,
)  # fmt: skip
def test_the_first_draw_is_everything(metric, options, missing):
    a, b = two_sides(missing)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        draws, _, a, b = drawn(metric, a, b, 0.8, **options)
        expected = scored(a, b, metric, options)
    np.testing.assert_allclose(draws[0], expected, atol=1e-12)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(
    ("metric", "options"),
    [
        *((metric, {"k": 3}) for metric in [*NEIGHBORS, "cknna"]),
        ("cknna", {"k": 3, "centered": True}),
        ("cka", {}), ("cka", {"debiased": False}), ("rdm", {}), ("rsa", {}),
        ("rsa", {"method": "kendall"}), ("distance_correlation", {}),
        ("distance_correlation", {"debiased": False}),
    ],
    ids=str,
)  # fmt: skip
def test_a_share_of_the_stimuli_is_scored_as_a_set_of_its_own(metric, options):
    draws, counts, a, b = drawn(metric, *two_sides(), 0.7, **options)
    for number in (1, 4):
        kept = np.flatnonzero(counts[number])
        expected = scored(a.isel(stimulus=kept), b.isel(stimulus=kept), metric, options)
        np.testing.assert_allclose(draws[number], expected, atol=1e-10)


def test_copies_never_meet_in_kernels_and_rdms():
    a, b = two_sides(n=14)
    one, other = a.isel(model=[0]), b.isel(model=[0])
    for metric in ("cka", "rdm", "rsa"):
        draws, counts, left, right = drawn(metric, one, other, None)
        copies = np.repeat(np.arange(14), counts[2])
        apart = copies[:, None] != copies
        x, y = (
            side.isel(model=0, feature=slice(int(side["n_features"][0]))).values
            for side in (left, right)
        )
        if metric == "cka":
            k, m = ((v - v.mean(0))[copies] @ (v - v.mean(0))[copies].T * apart for v in (x, y))
            expected = hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))
        else:
            u, v = (1 - np.corrcoef(side[copies]) for side in (x, y))
            upper = np.triu(apart, 1)
            rows = [np.corrcoef(u[i, apart[i]], v[i, apart[i]])[0, 1] for i in range(len(copies))]
            ranked = spearmanr(u[upper].round(12), v[upper].round(12)).statistic
            expected = np.mean(rows) if metric == "rdm" else ranked
        assert float(draws[2, 0, 0]) == pytest.approx(expected, abs=1e-9), metric


def hsic(k, m):
    """Song et al. (2012), eq. 5, without its factor, of kernels with a zero diagonal."""
    n = len(k)
    cross = k.sum() * m.sum() / ((n - 1) * (n - 2))
    return (k * m).sum() + cross - 2 / (n - 2) * (k.sum(0) * m.sum(0)).sum()


@pytest.mark.slow_after(1)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("metric", ["mutual_knn", "cycle_knn", "cka", "rsa"])
def test_the_estimate_is_the_alignment(metric):
    a, b = two_sides(0.15)
    options = {"k": 3} if metric.endswith("knn") else {}
    found = xc.confidence_interval(a, b, metric, resample="bootstrap", n_resamples=20, **options)
    expected = xc.alignment(a, b, metric, **options)
    if "stimulus" in expected.dims:
        expected = expected.mean("stimulus")
    np.testing.assert_allclose(found["estimate"], expected, atol=1e-12)


def test_cosines_are_averaged():
    a, b = (make_reps(2, 20, 4, seed) for seed in (0, 1))
    draws, counts, a, b = drawn("cosine", a, b, None)
    each = xc.alignment(a, b, "cosine")
    expected = (each * xr.DataArray(counts[3], dims="stimulus")).sum("stimulus") / counts[3].sum()
    np.testing.assert_allclose(draws[3], expected, atol=1e-12)


def test_variances_from_the_formulas():
    rng = np.random.default_rng(0)
    draws = rng.standard_normal((400, 3, 4)) * 0.1 + rng.standard_normal((3, 4))
    n = np.full((3, 4), 50)
    found = intervals.pair_variance(draws, n, 0.8)
    np.testing.assert_allclose(found, draws[1:].var(0, ddof=1) * 40 / 10)
    np.testing.assert_allclose(intervals.pair_variance(draws, n, None), found / 4)
    stimuli, freedom = intervals.mean_variance(draws, n, None, 7, "stimulus")
    assert stimuli == pytest.approx(draws[1:].mean((1, 2)).var(ddof=1))
    assert freedom == pytest.approx(49)


def test_crossed_variances_from_the_formula():
    rng = np.random.default_rng(0)
    draws = rng.standard_normal((300, 3, 4)) * 0.1 + rng.standard_normal((3, 4))
    n = np.full((3, 4), 50)
    again = np.random.default_rng(7)
    weights = []
    for size in (3, 4):
        counts = again.multinomial(size, np.full(size, 1 / size), size=299)
        weights.append((1 + (counts - 1) * np.sqrt(size / (size - 1))) / size)
    r, c = weights
    even = np.full((299, 3), 1 / 3), np.full((299, 4), 1 / 4)

    def variance(rows, columns, tables):
        parts = zip(rows, tables, columns, strict=True)
        return np.var([x @ table @ y for x, table, y in parts], ddof=1)

    fixed, moved = np.repeat(draws[:1], 299, 0), draws[1:]
    v_r, v_c, v_s = (
        variance(r, even[1], fixed), variance(even[0], c, fixed), variance(*even, moved)
    )  # fmt: skip
    v_rc, v_rs, v_cs = (
        variance(r, c, fixed),
        variance(r, even[1], moved),
        variance(even[0], c, moved),
    )
    v_all = variance(r, c, moved)
    model, freedom = intervals.mean_variance(draws, n, None, 7, "model")
    assert model == pytest.approx(np.clip(2 * (v_r + v_c) - v_rc, max(v_r, v_c), v_rc))
    assert freedom == pytest.approx((v_r + v_c) ** 2 / (v_r**2 / 2 + v_c**2 / 3))
    both, _ = intervals.mean_variance(draws, n, None, 7, "both")
    expected = 4 * (v_r + v_c + v_s) - 2 * (v_rc + v_rs + v_cs) + v_all
    assert both == pytest.approx(np.clip(expected, max(v_r, v_c, v_s), v_all))
    one_side, _ = intervals.mean_variance(draws[:, :1], n[:1], None, 7, "both")
    assert one_side > 0


def test_the_ends_of_an_interval():
    error, lower, upper = intervals.interval(0.5, 0.04, 9, 0.9)
    assert error == pytest.approx(0.2)
    assert upper - 0.5 == pytest.approx(0.2 * t.ppf(0.95, 9))
    assert 0.5 - lower == pytest.approx(upper - 0.5)


@pytest.mark.parametrize("in_blocks", [False, True])
def test_local_variances_from_plain_loops(in_blocks):
    a, b = two_sides(0.1)
    k, n = 4, 24
    unit = np.arange(n) // 2 if in_blocks else np.arange(n)
    blocks = xr.DataArray(unit, dims="stimulus", coords={"stimulus": a["stimulus"].values})
    options = {"blocks": shuffled(blocks)} if in_blocks else {}
    found = xc.confidence_interval(a, b, k=k, **options)
    b = b.sel(stimulus=a["stimulus"].values)
    shares = xc.alignment(a, b, k=k)
    labels = a["stimulus"].values
    rows = [
        [side.values[m, :, : int(side["n_features"][m])] for m in range(side.sizes["model"])]
        for side in (a, b)
    ]
    lists = {
        (x, y): oracles.lists_of_pair(rows[0][x], rows[1][y], labels, k)
        for x in range(2)
        for y in range(3)
    }

    def mutual(x, y, i, j):
        alike = unit[i] == unit[j]
        return alike or any(j in near[i] and i in near[j] for near in lists[x, y])

    def gaps_of(values):
        """What each stimulus moves of the mean of a pair, 0 where it is not in the pool."""
        there = ~np.isnan(values)
        several = len(set(unit[there]))
        gaps = np.where(there, values - values[there].mean(), 0) / there.sum()
        return gaps * np.sqrt(several / (several - 1))

    def variance(gaps, weight):
        return sum(
            gaps[i] * gaps[j] * (1 if i == j else weight(i, j)) for i in range(n) for j in range(n)
        )

    of_pairs = {pair: gaps_of(shares.values[pair]) for pair in lists}
    for (x, y), gaps in of_pairs.items():
        expected = variance(gaps, lambda i, j, x=x, y=y: mutual(x, y, i, j))
        error = float(found["standard_error"][x, y])
        assert error == pytest.approx(np.sqrt(max(expected, 0)), abs=1e-12)
    # the mean over pairs of their means: a stimulus counts for more in a pair that shares few
    expected = variance(
        np.mean(list(of_pairs.values()), axis=0),
        lambda i, j: np.mean([mutual(x, y, i, j) for x, y in lists]),
    )
    assert float(found["standard_error_of_mean"]) == pytest.approx(np.sqrt(expected), abs=1e-12)
    np.testing.assert_allclose(found["estimate"], shares.mean("stimulus"))


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(
    "call",
    [
        {"metric": "mutual_knn", "k": 3}, {"metric": "mutual_knn", "k": 3, "resample": "subsample"},
        {"metric": "cka", "over": "both"}, {"metric": "rsa", "over": "model"},
    ],
    ids=str,
)  # fmt: skip
def test_order_and_chunks_change_nothing(call):
    a, b = make_reps(3, 20, 4, shared=False), make_reps(4, 20, 5, seed=1, shared=False)
    expected = xc.confidence_interval(a, b, n_resamples=40, rng=0, **call)
    for left, right in ((shuffled(a, 2), b), (a.chunk(model=1, stimulus=6), b.chunk(feature=2))):
        found = xc.confidence_interval(left, right, n_resamples=40, rng=0, **call)
        for name in expected.data_vars:
            np.testing.assert_allclose(found[name], expected[name], atol=1e-12, err_msg=name)
    assert float(expected["lower_of_mean"]) < float(expected["upper_of_mean"])
    assert ("estimate" in expected) == (call.get("over") is None)


def test_graphs_with_gaps_are_drawn_as_their_representations_are():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 60, 8))
    labels = [f"s{i}" for i in range(60)]
    for rows in (x, y):
        rows[rng.permutation(60)[:24]] = np.nan
    sides = [xc.stack_models({name: rows}, stimuli=labels) for name, rows in (("a", x), ("b", y))]
    graphs = [xc.neighbor_graph(side, k=35) for side in sides]
    call = {"k": 3, "resample": "bootstrap", "n_resamples": 99, "rng": 0}
    expected = xc.confidence_interval(*sides, **call)
    found = xc.confidence_interval(*graphs, **call)
    for name in ("estimate", "lower", "upper"):
        xr.testing.assert_allclose(found[name].drop_vars(found[name].coords),
                                   expected[name].drop_vars(expected[name].coords))  # fmt: skip


@pytest.mark.slow
def test_bounds_widen_with_what_is_drawn():
    a, b = make_reps(6, 30, 4, shared=False), make_reps(5, 30, 5, seed=1, shared=False)
    width = {}
    for over in ("stimulus", "model", "both"):
        found = xc.confidence_interval(a, b, "cka", over=over, resample="bootstrap", rng=0)
        width[over] = float(found["standard_error_of_mean"])
        assert found["upper_of_mean"].attrs["long_name"].startswith("upper end")
    assert width["both"] >= max(width["stimulus"], width["model"]) - 1e-12


def test_errors_and_warnings():
    a, b = two_sides()
    with pytest.raises(ValueError, match="'svcca' has no interval; choose one of mutual_knn"):
        xc.confidence_interval(a, b, "svcca")
    with pytest.raises(ValueError, match="needs resample='bootstrap'"):
        xc.confidence_interval(a, b, over="both", resample="subsample")
    with pytest.raises(ValueError, match="'local' is for metric='mutual_knn'"):
        xc.confidence_interval(a, b, "cka", resample="local")
    with pytest.raises(ValueError, match=r"fraction=0\.1"):
        xc.confidence_interval(a, b, "cka", fraction=0.1)
    with pytest.raises(SchemaError, match="several models"):
        xc.confidence_interval(a[:1], b[:1], "cka", over="model")
    with pytest.warns(RuntimeWarning, match="at least 3 models"):
        found = xc.confidence_interval(a, b, "cka", over="model", n_resamples=20)
    assert np.isnan(found["lower_of_mean"])
    assert np.isfinite(found["estimate_of_mean"])
    few = a.isel(stimulus=slice(8)), b.sel(stimulus=a["stimulus"][:8])
    with pytest.warns(RuntimeWarning, match="at least 10 common stimuli"):
        found = xc.confidence_interval(*few, "cka", n_resamples=20)
    assert found["upper"].isnull().all()


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("options", [{}, {"resample": "subsample"}, {"over": "both"}])
def test_a_model_that_saw_nothing_is_named_and_leaves_the_mean_of_the_others(options):
    a, b = make_reps(5, 30, shared=False), make_reps(3, 30, 5, seed=1, shared=False)
    empty = a.copy(deep=True)
    empty[2] = np.nan
    call = {"k": 3, "n_resamples": 20, "rng": 0, **options}
    right = xc.confidence_interval(a.drop_isel(model=2), b, "mutual_knn", **call)
    with pytest.warns(RuntimeWarning, match="no interval for 'net2': no stimulus in common"):
        found = xc.confidence_interval(empty, b, "mutual_knn", **call)
    for name in right.data_vars:
        mine = (
            found[name].drop_sel(model_a="net2") if "model_a" in found[name].dims else found[name]
        )
        np.testing.assert_array_equal(mine, right[name])
    if "estimate" in found:
        assert found["model_a"].values.tolist() == a["model"].values.tolist()
        assert found["family_a"].values.tolist() == a["family"].values.tolist()
        assert found["lower"].sel(model_a="net2").isnull().all()


@pytest.mark.parametrize("how", ["subsample", "bootstrap"])
def test_whole_blocks_are_drawn(how):
    a, b = two_sides(0.1)
    blocks = xr.DataArray(np.arange(24) // 2, dims="stimulus", coords={"stimulus": a["stimulus"]})
    share = 0.8 if how == "subsample" else None
    pair = Pair(a, b, 5)
    rank = pair.rank.values
    codes = blocks.astype(str).values
    codes = np.unique(codes, return_inverse=True)[1]
    seen = (pair.a[0].notnull().any("feature") & pair.b[1].notnull().any("feature")).values
    counts = kernels.resamples(rank, pair.stream, 0, usable=seen, fraction=share, blocks=codes)
    assert (counts[:, ~seen] == 0).all()
    for unit in range(12):
        inside = (codes == unit) & seen
        assert (counts[:, inside] == counts[:, inside][:, :1]).all()
    units = len(set(codes[seen]))
    first = np.array([np.flatnonzero((codes == u) & seen)[0] for u in set(codes[seen])])
    drawn = counts[1:, first].sum(1)
    assert (drawn == (round(0.8 * units) if share else 12)).all()
    # alike for every order of labels
    order = np.argsort(rank)
    again = kernels.resamples(
        np.arange(24), pair.stream, 0, usable=seen[order], fraction=share, blocks=codes[order]
    )
    np.testing.assert_array_equal(counts[:, order], again)
    found = xc.confidence_interval(a, b, "cka", blocks=blocks, resample=how, n_resamples=40, rng=5)
    plan = plan_of(pair, "cka", {})
    sides = (list(side.values) for side in models(plan, pair))
    draws = resampled(
        plan.kernel, *sides,
        lambda common: kernels.resamples(
            rank, pair.stream, 0, usable=common, count=250, fraction=share, blocks=codes
        )[:41],
    )[:, 0, 1]  # fmt: skip
    drawn = round(0.8 * units)
    factor = drawn / (units - drawn) if share else 1.0
    expected = np.sqrt(draws[1:].var(ddof=1) * factor)
    assert float(found["standard_error"][0, 1]) == pytest.approx(expected)
    reach = t.ppf(0.975, units - 1) * expected
    assert float(found["upper"][0, 1] - found["estimate"][0, 1]) == pytest.approx(reach)
    assert found.attrs["blocks"] == "given"


def test_near_duplicates_make_intervals_wider():
    rng = np.random.default_rng(0)
    labels = {"stimulus": [f"s{i}" for i in range(60)]}
    latent = np.repeat(rng.standard_normal((30, 3)), 2, axis=0)
    a, b = (
        xr.DataArray(
            (latent @ rng.standard_normal((3, 6)) + np.repeat(rng.standard_normal((30, 6)), 2, 0))
            + 0.05 * rng.standard_normal((1, 60, 6)),
            dims=("model", "stimulus", "feature"), coords={"model": [name], **labels},
        )
        for name in "ab"
    )  # fmt: skip
    blocks = xr.DataArray(np.arange(60) // 2, dims="stimulus", coords=labels)
    # near-duplicates are each other's neighbours, so that local intervals know most of it
    for metric, least, options in (
        ("mutual_knn", 1.0, {"k": 4}),
        ("cka", 1.1, {"n_resamples": 200, "rng": 0}),
    ):
        apart = xc.confidence_interval(a, b, metric, **options)
        whole = xc.confidence_interval(a, b, metric, blocks=blocks, **options)
        assert (whole["standard_error"] > least * apart["standard_error"]).all()
    with pytest.warns(RuntimeWarning, match=r"at least 10 common stimuli \(there are 6\)"):
        few = xc.confidence_interval(a, b, k=4, blocks=blocks // 5)
    assert few["upper"].isnull().all()
