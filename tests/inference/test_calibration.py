"""Draws under permutation, and what calibrate makes of them, against plain loops."""

import itertools
import math
import warnings

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xconverge as xc
from tests.helpers import DIMS, chunked, make_reps, shuffled
from xconverge.engine.pair import Pair
from xconverge.engine.resampling import run
from xconverge.engine.scores import models
from xconverge.kernels import permutations as kernels
from xconverge.kernels.ridge import Predictivity
from xconverge.labels.joins import natural_rank
from xconverge.labels.messages import SchemaError
from xconverge.measures.alignment import MEASURES, plan_of

OPTIONS = {
    "mutual_knn": {"k": 4}, "cycle_knn": {"k": 3}, "lcs_knn": {"k": 4},
    "edit_distance_knn": {"k": 4}, "cknna": {"k": 4}, "svcca": {"n_components": 2, "folds": 3},
    "linear_predictivity": {"folds": 3, "score": "r2"}, "rsa": {"method": "kendall"},
}  # fmt: skip
CASES = [
    *((metric, OPTIONS.get(metric, {})) for metric in MEASURES),
    ("cknna", {"k": 4, "centered": True}),
    ("cka", {"debiased": False}),
    ("cka", {"kernel": "rbf"}),
    ("cka", {"kernel": "rbf", "debiased": False}),
    ("distance_correlation", {"debiased": False}),
    ("rsa", {"method": "spearman"}),
    ("rsa", {"method": "cosine", "rdm_metric": "euclidean"}),
    ("rsa", {"method": "rho-a"}),
    ("rdm", {"rdm_metric": "sqeuclidean"}),
    ("svcca", {"n_components": 2, "folds": None}),
]


def two_sides(metric, missing=0.0, n=26, seed=0):
    wide = 5 if metric == "cosine" else [5, 3, 4]
    a = make_reps(3, n, wide, seed, missing=missing, shared=metric == "cosine")
    b = make_reps(2, n, wide if metric == "cosine" else [4, 6], seed + 1, missing=missing)
    b.attrs["space"] = a.attrs.get("space", "own")
    return a, b


def drawn(a, b, metric, options, count=20, seed=3):
    """Draws of a metric, and the sides and strata behind them."""
    pair = Pair(a, b, 0)
    plan = plan_of(pair, metric, dict(options))
    draws, _ = run(
        plan.kernel, models(plan, pair), pair.rank, count, seed, lambda done, total: None,
        plan.given,
    )  # fmt: skip
    strata = plan.given.values if plan.kernel.permuted_inside_folds else None
    strata = None if strata is None else strata - strata.min()
    return draws, pair.a, pair.b, strata


def scored(metric, a, b, options):
    """The score of plain arrays by ``alignment``, with the folds of seed 0."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(xc.alignment(a, b, metric, rng=0, **options).mean())


@pytest.mark.slow_after(1)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("missing", [0.0, 0.12])
@pytest.mark.parametrize(("metric", "options"), CASES, ids=str)
def test_draws_are_the_scores_of_permuted_stimuli(metric, options, missing):
    a, b = two_sides(metric, missing)
    draws, a, b, strata = drawn(a, b, metric, options, count=8)
    rank = natural_rank(a.indexes["stimulus"])
    for i, j in [(0, 0), (2, 1)]:
        one, other = a.isel(model=[i]), b.isel(model=[j])
        common = (one.notnull().any("feature") & other.notnull().any("feature").values).values[0]
        groups = np.zeros(len(rank), int) if strata is None else strata
        moves = kernels.permutations(rank, 3, 0, groups, common)
        # what one model alone decides (the components of svcca) is not made anew in a pool
        fixed = metric == "svcca" or options.get("kernel") == "rbf"
        if not fixed:
            one, other = one.isel(stimulus=common), other.isel(stimulus=common)
        for number in (0, 1, 7):
            order = moves[number] if fixed else kernels.within(moves[[number]], common)[0]
            moved = other.isel(stimulus=order).assign_coords(stimulus=other["stimulus"])
            if strata is not None and not fixed:
                expected = predicted(one, moved, options, strata[common])
            else:
                expected = scored(metric, one, moved, options)
            assert float(draws[number, i, j]) == pytest.approx(expected, abs=1e-12)


def predicted(a, b, options, folds):
    """Predictivity of models that saw everything, in folds that are given."""
    kernel = Predictivity(options["score"])
    states = [
        kernel.prepare(side.values[0], int(side["n_features"][0]), np.arange(len(folds)), folds)
        for side in (a, b)
    ]
    sums = kernel.sums(states[:1], states[1:], folds)
    return float(kernel.finish(sums, [None], [None])[0, 0])


def test_wide_rows_move_as_kernels_do():
    rng = np.random.default_rng(0)
    ids = [f"s{i}" for i in range(12)]
    for width in (3, 60):
        a, b = (
            xc.stack_models({n: rng.standard_normal((12, width)) for n in "xy"}, stimuli=ids)
            for _ in range(2)
        )
        draws, a, b, _ = drawn(a, b, "cka", {})
        moves = kernels.permutations(np.arange(12), 3, 0)
        moved = b.isel(stimulus=moves[5]).assign_coords(stimulus=b["stimulus"])
        np.testing.assert_allclose(draws[5], xc.alignment(a, moved, "cka"), atol=1e-12)


def test_p_value_threshold_and_effect_from_plain_loops():
    a, b = two_sides("mutual_knn", n=20)
    table = xc.calibrate(a, b, k=4, n_permutations=99, alpha=0.1, rng=5)
    seed = int(np.random.default_rng(5).integers(2**63))
    draws, *_ = drawn(a, b, "mutual_knn", {"k": 4}, count=99, seed=seed)
    for i, j in np.ndindex(3, 2):
        score, *null = draws.values[:, i, j]
        p = (1 + sum(value >= score - 1e-12 for value in null)) / 100
        tau = sorted([score, *null])[math.ceil(0.9 * 100) - 1]
        assert float(table["alignment"][i, j]) == pytest.approx(score, abs=1e-15)
        assert float(table["p_value"][i, j]) == p
        assert float(table["threshold"][i, j]) == tau
        assert float(table["calibrated"][i, j]) == pytest.approx((score - tau) / (1 - tau))
        assert float(table["chance"][i, j]) == 4 / 19
        assert float(table["corrected"][i, j]) == pytest.approx((score - 4 / 19) / (1 - 4 / 19))


def test_a_distance_is_small_where_it_is_alike():
    a, _ = two_sides("procrustes", n=40)
    table = xc.calibrate(a, a.isel(stimulus=slice(None, None, -1)), "procrustes",
                         n_permutations=99, rng=0)  # fmt: skip
    assert (np.diagonal(table["p_value"]) == 0.01).all()
    assert (table["threshold"] < table["chance"]).all()
    np.testing.assert_allclose(np.diagonal(table["calibrated"]), 1, atol=1e-6)
    assert table["alignment"].attrs["kind"] == "distance"


def all_orders(a, b, n):
    """One model of a, and one of b under every permutation of n stimuli: the models of one set."""
    one, other = a.isel(model=[0]), b.isel(model=[-1])
    other = other.sel(stimulus=one["stimulus"].values)
    orders = list(itertools.permutations(range(n)))
    moved = np.stack([other.values[0][list(order)] for order in orders])
    names = np.array([f"order{i}" for i in range(len(orders))], dtype=object)
    width = int(other["n_features"][0])
    many = xr.DataArray(
        moved[..., :width], dims=DIMS, coords={"model": names, "stimulus": one["stimulus"].values}
    )
    return one, many


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(
    ("metric", "options"),
    [
        ("mutual_knn", {"k": 2}), ("cka", {"debiased": False}), ("cka", {}), ("rdm", {}),
        ("cka", {"kernel": "rbf"}), ("rsa", {"method": "spearman"}), ("rsa", {"method": "kendall"}),
        ("rsa", {"method": "rho-a"}), ("distance_correlation", {}),
    ],
    ids=str,
)  # fmt: skip
def test_closed_chance_levels_are_means_over_all_permutations(metric, options):
    one, many = all_orders(*two_sides("cka", n=5), 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        everything = xc.alignment(one, many, metric, **options)
        # the first order is the one as it is
        table = xc.calibrate(one, many.isel(model=[0]), metric, n_permutations=9, **options)
    assert table["chance"].attrs["exact"] == 1
    assert float(everything.mean()) == pytest.approx(float(table["chance"].item()), abs=1e-10)


@pytest.mark.slow
def test_p_values_converge_to_those_of_all_permutations():
    a, b = two_sides("cka", n=6)
    one, many = all_orders(a, b.isel(model=[0]), 6)
    everything = xc.alignment(one, many, "cka").values[0]
    exact = (everything >= everything[0] - 1e-12).mean()
    found = xc.calibrate(one, many.isel(model=[0]), "cka", n_permutations=19_999, rng=0)
    found = float(found["p_value"].item())
    assert found == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000) + 1e-4)


def test_the_result_carries_labels_and_corrections():
    a, b = two_sides("cka", missing=0.1)
    table = xc.calibrate(a, b, "cka", n_permutations=39, rng=0)
    assert table["p_value"].dims == ("model_a", "model_b")
    assert {
        "family_a",
        "family_b",
        "n_stimuli",
        "p_value_bh",
        "p_value_by",
        "p_value_max_t",
    } <= set(table["p_value"].coords)
    assert (table["p_value"] > 0).all()
    assert (table["p_value"] <= 1).all()
    assert (table["p_value"] <= table["p_value_bh"]).all()
    assert (table["p_value_bh"] <= table["p_value_by"]).all()
    for name in table.data_vars:
        assert {"kind", "units", "long_name", "xconverge_version"} <= set(table[name].attrs)
    np.testing.assert_allclose(table["alignment"], xc.alignment(a, b, "cka"), atol=1e-12)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("metric", ["mutual_knn", "cka", "rsa", "svcca"])
def test_order_and_chunks_change_nothing(metric):
    a, b = two_sides(metric, missing=0.1)
    options = OPTIONS.get(metric, {})
    call = {"n_permutations": 19, "rng": 1, **options}
    expected = xc.calibrate(a, b, metric, **call)
    for left, right in (
        (shuffled(a, 3), b),
        (a, shuffled(b, 4)),
        (a.chunk(model=1, stimulus=7), b.chunk(feature=2)),
    ):
        found = xc.calibrate(left, right, metric, **call)
        np.testing.assert_allclose(found["p_value"], expected["p_value"], atol=0)
        np.testing.assert_allclose(found["threshold"], expected["threshold"], atol=1e-12)


@pytest.mark.slow
@settings(max_examples=6)
@given(data=st.data())
def test_any_chunks_give_the_same_p_values(data):
    a, b = two_sides("mutual_knn", missing=0.1, n=15)
    expected = xc.calibrate(a, b, k=3, n_permutations=19, rng=1)
    found = xc.calibrate(
        data.draw(chunked(a)), data.draw(chunked(b)), k=3, n_permutations=19, rng=1
    )
    xr.testing.assert_allclose(found, expected)


def test_any_number_of_workers_gives_the_same_numbers():
    a, b = two_sides("mutual_knn")
    found = []
    for workers in (1, 4):
        with dask.config.set(num_workers=workers):
            found.append(xc.calibrate(a, b, k=3, n_permutations=600, rng=1))
    xr.testing.assert_identical(*found)


@pytest.mark.slow
def test_processes_of_a_cluster_give_the_same_numbers(client):
    a, b = two_sides("mutual_knn", missing=0.1)
    call = {"k": 3, "n_permutations": 300, "rng": 1}
    with dask.config.set(scheduler="threads"):
        expected = xc.calibrate(a, b, **call)
    found = xc.calibrate(a.chunk(model=1), b.chunk(model=1), **call)
    xr.testing.assert_allclose(found, expected, rtol=1e-13)


@pytest.mark.slow
def test_a_cluster_gives_the_same_numbers():
    distributed = pytest.importorskip("distributed")
    a, b = two_sides("mutual_knn", missing=0.1)
    expected = xc.calibrate(a, b, k=3, n_permutations=600, rng=1)
    for workers in (1, 4):
        cluster = distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=":0", processes=True
        )
        with cluster, distributed.Client(cluster):
            found = xc.calibrate(a.chunk(model=1), b.chunk(model=1), k=3, n_permutations=600, rng=1)
        xr.testing.assert_allclose(found, expected, rtol=1e-13)


def test_extra_dims_are_mapped_over():
    a, b = (make_reps(2, 16, 4, seed, shared=False, extra={"subject": 2}) for seed in (0, 1))
    table = xc.calibrate(a, b, k=3, n_permutations=19, rng=0)
    assert set(table["p_value"].dims) == {"subject", "model_a", "model_b"}
    one = xc.calibrate(a.isel(subject=1), b.isel(subject=1), k=3, n_permutations=19, rng=0)
    np.testing.assert_array_equal(table["p_value"].isel(subject=1), one["p_value"])


def networks_of(seed):
    reps = make_reps(4, 20, 5, seed, shared=False)
    return reps.assign_coords(network=("model", ["one", "one", "two", "two"]))


def test_the_best_layers_are_chosen_again_in_every_draw():
    a, b = networks_of(0), networks_of(1)
    table = xc.calibrate(a, b, "cka", layers="max", n_permutations=39, rng=2)
    seed = int(np.random.default_rng(2).integers(2**63))
    draws, *_ = drawn(a, b, "cka", {}, count=39, seed=seed)
    for i, j in np.ndindex(2, 2):
        part = draws.values[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        maxima = part.max((1, 2))
        p = (1 + (maxima[1:] >= maxima[0] - 1e-12).sum()) / 40
        assert float(table["p_value"][i, j]) == p
        assert float(table["alignment"][i, j]) == pytest.approx(maxima[0])
        best = np.unravel_index(part[0].argmax(), (2, 2))
        assert str(table["layer_a"].values[i, j]) == f"net{2 * i + best[0]}"
    with pytest.raises(ValueError, match="choose one of half"):
        xc.alignment(a, b, "cka", layers="max")


def test_strata_keep_what_they_explain():
    groups = np.repeat(np.arange(4), 10)
    rng = np.random.default_rng(0)
    ids = [f"s{i}" for i in range(40)]

    def side():
        x = 4 * rng.standard_normal((4, 6))[groups] + rng.standard_normal((40, 6))
        return xc.stack_models({"net": x}, stimuli=ids)

    a, b = side(), side()
    named = a.assign_coords(category=("stimulus", groups))
    free = xc.calibrate(named, b, "cka", n_permutations=199, rng=0)
    bound = xc.calibrate(named, b, "cka", strata="category", n_permutations=199, rng=0)
    given_array = xc.calibrate(a, b, "cka", strata=shuffled(named["category"]),
                               n_permutations=199, rng=0)  # fmt: skip
    assert free["p_value"].item() == 0.005
    assert bound["p_value"].item() > 0.05
    assert bound["chance"].item() > free["chance"].item() + 0.2
    assert given_array["p_value"].item() == bound["p_value"].item()
    with pytest.raises(SchemaError, match="there is 'category'"):
        xc.calibrate(named, b, "cka", strata="kind")
    with pytest.raises(SchemaError, match="one value for each label"):
        xc.calibrate(named, b, "cka", strata=named["category"][:20])


def test_too_little_data_is_nan_with_a_warning():
    a, b = two_sides("cka", n=3)
    with pytest.warns(RuntimeWarning, match="'net0 × net0'.*the 4 common stimuli.*NaN"):
        table = xc.calibrate(a, b, "cka", n_permutations=9, rng=0)
    assert table["p_value"].isnull().all()
    assert table["calibrated"].isnull().all()
    a, b = two_sides("cka", n=12)
    values = a.values.copy()
    values[1, :10] = np.nan
    with pytest.warns(RuntimeWarning, match="net1 × net0"):
        table = xc.calibrate(a.copy(data=values), b, "cka", n_permutations=9, rng=0)
    assert table["p_value"].isnull().values.tolist() == [[False] * 2, [True] * 2, [False] * 2]


def test_arguments_are_checked():
    a, b = two_sides("cka")
    with pytest.raises(ValueError, match="n_permutations=0"):
        xc.calibrate(a, b, n_permutations=0)
    with pytest.raises(ValueError, match=r"alpha=1\.5"):
        xc.calibrate(a, b, alpha=1.5)
    with pytest.raises(TypeError, match="no option method"):
        xc.calibrate(a, b, "cka", method="spearman")
    with pytest.raises(ValueError, match="not known"):
        xc.calibrate(a, b, "cak")
    with pytest.raises(ValueError, match="layers='half'"):
        xc.calibrate(a, b, layers="half")


@pytest.mark.slow
def test_an_interrupt_keeps_what_is_done():
    a, b = two_sides("mutual_knn")
    calls = []

    def progress(done, total):
        calls.append((done, total))
        if len(calls) == 2:
            raise KeyboardInterrupt

    with dask.config.set(num_workers=1), pytest.warns(RuntimeWarning, match="interrupted"):
        table = xc.calibrate(a, b, k=3, n_permutations=50_000, rng=1, progress=progress)
    done = table["p_value"].attrs["n_permutations"]
    assert done < 50_000
    assert done >= calls[-1][0]
    whole = xc.calibrate(a, b, k=3, n_permutations=done, rng=1)
    np.testing.assert_array_equal(table["p_value"], whole["p_value"])
    assert calls[0][1] == 50_000


def test_an_interrupt_before_anything_is_done_is_one(monkeypatch):
    a, b = two_sides("mutual_knn")

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(xr.DataArray, "compute", stop)
    with pytest.raises(KeyboardInterrupt):
        xc.calibrate(a, b, k=3, n_permutations=9)


def test_rsa_given_nuisances_is_the_partial_correlation_of_moved_residuals():
    a, b = two_sides("rsa", n=12)
    control = xc.rdm(make_reps(1, 12, 3, 9, shared=False)).isel(model=0, drop=True)
    u, v = xc.rdm(a), xc.rdm(b)
    table = xc.calibrate_rsa(u, v, "spearman", nuisance=control, n_permutations=99, rng=4)
    np.testing.assert_allclose(table["rsa"], xc.rsa(u, v, nuisance=control), atol=1e-12)
    from scipy.stats import rankdata

    labels = list(a["stimulus"].values)
    upper = np.triu_indices(12, 1)

    def residual(rdm, design):
        values = rankdata(rdm[upper])
        return values - design @ np.linalg.lstsq(design, values, rcond=None)[0]

    def matrix(rdm):
        return rdm.sel(stimulus=labels, stimulus_2=labels).values

    design = np.stack([np.ones(66), rankdata(matrix(control)[upper])], 1)
    one, other = (residual(matrix(x.isel(model=0)), design) for x in (u, v))
    square = np.zeros((12, 12))
    square[upper] = other
    square += square.T
    seed = int(np.random.default_rng(4).integers(2**63))
    moves = kernels.permutations(natural_rank(labels), seed, 0)[:100]
    null = []
    for p in moves:
        moved = square[np.ix_(p, p)][upper]
        moved = moved - design @ np.linalg.lstsq(design, moved, rcond=None)[0]
        null.append(np.corrcoef(one, moved)[0, 1])
    assert null[0] == pytest.approx(float(table["rsa"][0, 0]))
    expected = (1 + sum(value >= null[0] - 1e-12 for value in null[1:])) / 100
    assert float(table["p_value"][0, 0]) == expected


def test_rsa_without_models_has_none_in_the_result():
    u, v = (xc.rdm(side).isel(model=0, drop=True) for side in two_sides("rsa", n=12))
    table = xc.calibrate_rsa(u, v, n_permutations=19, rng=0)
    assert table["p_value"].dims == ()
    assert "model_a" not in table.coords
    with pytest.raises(ValueError, match="not known"):
        xc.calibrate_rsa(u, v, "spaerman")


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["mutual_knn", "cka", "rsa"])
def test_a_true_null_is_seldom_rejected(metric):
    rng = np.random.default_rng(0)
    sets = [
        xr.DataArray(
            rng.standard_normal((300, 1, 20, 3)),
            dims=("run", *DIMS),
            coords={"model": [name], "stimulus": [f"s{i}" for i in range(20)]},
        )
        for name in "ab"
    ]
    options = {"k": 4} if metric == "mutual_knn" else {}
    p = xc.calibrate(*sets, metric, n_permutations=99, rng=0, **options)["p_value"]
    assert 0.01 <= float((p <= 0.05).mean()) <= 0.10
    assert float(p.min()) >= 0.01


@pytest.mark.parametrize("bad", [np.nan, 1.0])
def test_one_bad_model_is_named_and_leaves_the_family_of_the_others(bad):
    a, b = two_sides("rsa", n=12)
    u, v = xc.rdm(a), xc.rdm(b)
    wrong = u.copy(deep=True)
    wrong[1] = bad * (1 - np.eye(12))
    call = {"n_permutations": 49, "rng": 0}
    right = xc.calibrate_rsa(u.drop_isel(model=1), v, **call)
    with pytest.warns(RuntimeWarning, match=f"no p-value for '{u['model'].values[1]} ×"):
        found = xc.calibrate_rsa(wrong, v, **call)
    for name in ("rsa", "p_value", "p_value_max_t", "p_value_bh", "p_value_by"):
        np.testing.assert_allclose(found[name].drop_isel(model_a=1), right[name], atol=1e-12)
        assert found[name].isel(model_a=1).isnull().all()


def pairs_of(a, each=2):
    """Blocks of stimuli whose labels follow each other, as values (stimulus)."""
    numbers = natural_rank(a["stimulus"].to_index()) // each
    return xr.DataArray(
        [f"unit {number}" for number in numbers], dims="stimulus",
        coords={"stimulus": a["stimulus"].values},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("missing", [0.0, 0.15])
def test_blocks_move_whole(missing):
    a, b = two_sides("cka", missing, n=24)
    blocks = pairs_of(a)
    table = xc.calibrate(a, b, "cka", blocks=shuffled(blocks, 5), n_permutations=29, rng=5)
    seed = int(np.random.default_rng(5).integers(2**63))
    rank = natural_rank(a.indexes["stimulus"])
    codes = np.unique(blocks.values, return_inverse=True)[1]
    one, other = a[[0]], b[[1]].sel(stimulus=a["stimulus"].values)
    there = (one.notnull().any("feature").values & other.notnull().any("feature").values)[0]
    one, draws = one.isel(stimulus=there), []
    for order in kernels.permutations(rank, seed, 0, None, there, 30, codes)[:, there]:
        moved = other.isel(stimulus=order).assign_coords(stimulus=one["stimulus"].values)
        draws.append(scored("cka", one, moved, {}))
    p = (1 + (np.array(draws[1:]) >= draws[0] - 1e-12).sum()) / 30
    assert float(table["p_value"][0, 1]) == pytest.approx(p)
    assert table.attrs["blocks"] == "given"
    u, v = xc.rdm(a), xc.rdm(b)
    rsa = xc.calibrate_rsa(u, v, "pearson", blocks=blocks, n_permutations=29, rng=5)
    same = xc.calibrate(a, b, "rsa", method="pearson", blocks=blocks, n_permutations=29, rng=5)
    np.testing.assert_allclose(rsa["threshold"], same["threshold"], atol=1e-12)
    assert rsa["chance"].attrs["exact"] == 0


def test_blocks_in_strata_and_what_tears_them():
    a, b = two_sides("cka", n=24)
    blocks = pairs_of(a)
    halves = blocks.copy(data=natural_rank(a["stimulus"].to_index()) // 12).astype(str)
    call = {"n_permutations": 19, "rng": 0}
    inside = xc.calibrate(a, b, "cka", blocks=blocks, strata=halves, **call)
    assert inside.attrs["strata"] == "given"
    with pytest.raises(SchemaError, match="are in several, of stimuli '.*give strata"):
        xc.calibrate(a, b, "cka", blocks=blocks, strata="category", **call)
    with pytest.raises(SchemaError, match="blocks='nothing' must be a coordinate"):
        xc.calibrate(a, b, "cka", blocks="nothing", **call)
    with pytest.warns(RuntimeWarning, match="change places in 6 ways, and a p-value of 0.05 needs"):
        xc.calibrate(a, b, "cka", blocks=pairs_of(a, 8), **call)
    with pytest.warns(RuntimeWarning, match="change places in 2 ways"):
        xc.calibrate_rsa(xc.rdm(a), xc.rdm(b), blocks=pairs_of(a, 12), **call)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(
    ("metric", "options"),
    [("linear_predictivity", {"folds": 3}), ("svcca", {"n_components": 2, "folds": 3})],
)
def test_folds_hold_whole_blocks(metric, options):
    a, b = two_sides(metric, n=24)
    call = {**options, "n_permutations": 9, "rng": 0}
    found = xc.calibrate(a, b, metric, blocks=pairs_of(a), **call)
    named = a.assign_coords(unit=pairs_of(a))
    expected = xc.alignment(named, b, metric, groups="unit", rng=0, **options)
    np.testing.assert_allclose(found["alignment"], expected, atol=1e-12)
    given = xc.alignment(a, b, metric, groups=shuffled(pairs_of(a)), rng=0, **options)
    np.testing.assert_allclose(given, expected, atol=1e-12)
    whole = xc.calibrate(named, b, metric, blocks="unit", groups="unit", **call)
    np.testing.assert_allclose(whole["p_value"], found["p_value"])
    with pytest.raises(SchemaError, match="blocks move inside strata and folds"):
        xc.calibrate(named, b, metric, blocks="unit", groups="category", **call)


def test_order_and_chunks_change_nothing_in_blocks():
    a, b = two_sides("mutual_knn", missing=0.1)
    blocks = pairs_of(a)
    call = {"k": 4, "n_permutations": 19, "rng": 1, "blocks": blocks}
    expected = xc.calibrate(a, b, **call)
    found = xc.calibrate(shuffled(a, 3).chunk(model=1), shuffled(b, 2), **call)
    np.testing.assert_allclose(found["threshold"], expected["threshold"], atol=1e-12)
    np.testing.assert_array_equal(found["p_value"], expected["p_value"])


@pytest.mark.slow
def test_near_duplicates_are_one_unit():
    """Pairs of near-duplicates in both sets: alike beyond chance, until pairs move whole."""
    rng = np.random.default_rng(0)
    runs, n = 60, 40

    def side(name):
        values = np.repeat(rng.standard_normal((runs, 1, n // 2, 8)), 2, axis=2)
        values = values + 0.2 * rng.standard_normal((runs, 1, n, 8))
        return xr.DataArray(
            values, dims=("run", *DIMS),
            coords={"model": [name], "stimulus": [f"s{i}" for i in range(n)]},
        )  # fmt: skip

    a, b = side("a"), side("b")
    call = {"k": 3, "n_permutations": 99, "rng": 0}
    apart = xc.calibrate(a, b, **call)["p_value"]
    whole = xc.calibrate(a, b, blocks=pairs_of(a), **call)["p_value"]
    assert float((apart <= 0.05).mean()) > 0.9
    assert float((whole <= 0.05).mean()) <= 0.12
