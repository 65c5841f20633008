"""Draws under permutation, and what calibrate makes of them, against plain loops."""

import itertools
import math
import time
import warnings

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from xconverge.kernels.graphs import Lookup, graph

import xconverge as xc
from tests.helpers import DIMS, chunked, make_reps, shuffled
from xconverge.engine import progress as runs
from xconverge.engine.resampling import blocks_of, draw, joined, seen
from xconverge.kernels import permutations as kernels
from xconverge.labels.joins import natural_rank
from xconverge.labels.messages import SchemaError
from xconverge.measures.alignment import MEASURES, own_options, sides

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
    """Draws of a metric, and the permutations of b (in the order of a) behind them."""
    own = own_options(metric, dict(options), rng=0)
    a, b, _ = sides(a, b, DIMS, "exact")
    recipe = MEASURES[metric].null(a, b, DIMS, **own)
    blocks = blocks_of(count, lazy=False)
    draws = joined(draw(recipe, seen(a, DIMS), seen(b, DIMS), DIMS, blocks, seed), count)
    strata = None if recipe.strata is None else recipe.strata.values
    return draws, a, b, own, strata


def scored(metric, a, b, own):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = MEASURES[metric].function(a, b, DIMS, **own)
    return float(scores.mean())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("missing", [0.0, 0.12])
@pytest.mark.parametrize(("metric", "options"), CASES, ids=str)
def test_draws_are_the_scores_of_permuted_stimuli(metric, options, missing):
    a, b = two_sides(metric, missing)
    draws, a, b, own, strata = drawn(a, b, metric, options)
    rank = natural_rank(a.indexes["stimulus"])
    for i, j in [(0, 0), (2, 1)]:
        one, other = a.isel(model=[i]), b.isel(model=[j])
        common = (one.notnull().any("feature") & other.notnull().any("feature").values).values[0]
        groups = np.zeros(len(rank), int) if strata is None else strata
        moves = kernels.permutations(rank, 3, 0, groups, common)
        for number in (0, 1, 7):
            moved = other.isel(stimulus=moves[number]).assign_coords(stimulus=b["stimulus"])
            expected = scored(metric, one, moved, own)
            assert float(draws[number, i, j]) == pytest.approx(expected, abs=1e-12)


def test_wide_rows_move_as_kernels_do():
    rng = np.random.default_rng(0)
    ids = [f"s{i}" for i in range(12)]
    for width in (3, 60):
        a, b = (
            xc.stack_models({n: rng.standard_normal((12, width)) for n in "xy"}, stimuli=ids)
            for _ in range(2)
        )
        draws, a, b, *_ = drawn(a, b, "cka", {})
        moves = kernels.permutations(np.arange(12), 3, 0)
        moved = b.isel(stimulus=moves[5]).assign_coords(stimulus=b["stimulus"])
        np.testing.assert_allclose(draws[5], xc.alignment(a, moved, "cka"), atol=1e-12)


def test_edges_are_found_in_a_hashed_table(monkeypatch):
    rng = np.random.default_rng(0)
    n, k = 300, 3
    lists = np.array([[rng.permutation(n)[:k] for _ in range(n)] for _ in range(2)])
    monkeypatch.setattr("xconverge.kernels.graphs.LEAST_TABLE", 16)
    one = graph(lists)
    lookup = Lookup(one, n)
    assert len(lookup.table) < n**2
    (found,) = lookup.find(one.source, one.target, np.arange(n)[None])
    np.testing.assert_array_equal(found[0], np.arange(len(one.source)))
    np.testing.assert_array_equal(found[1], found[0])


def test_permutations_follow_labels_and_strata():
    rank = np.random.default_rng(0).permutation(30)
    strata = np.arange(30) % 3
    strata[4] = -1
    plain, inside = kernels.permutations(rank, 1, 0), kernels.permutations(rank, 1, 2, strata)
    np.testing.assert_array_equal(plain[0], np.arange(30))
    assert (np.sort(plain, 1) == np.arange(30)).all()
    assert (np.sort(inside, 1) == np.arange(30)).all()
    assert (strata[inside] == strata).all()
    assert (inside[:, 4] == 4).all()
    assert len(np.unique(inside, axis=0)) > 200
    order = np.argsort(rank)
    straight = kernels.permutations(np.arange(30), 1, 0)
    np.testing.assert_array_equal(rank[plain[:, order]], straight)


@pytest.mark.parametrize("missing", [[], [1, 4]])
def test_permutations_are_uniform(missing):
    usable = ~np.isin(np.arange(4 + len(missing)), missing)
    rank = np.arange(len(usable))
    moves = np.concatenate([kernels.permutations(rank, 0, i, usable=usable) for i in range(1, 41)])
    assert (moves[:, missing] == missing).all()
    moves = moves[:, usable]
    _, counts = np.unique(moves, axis=0, return_counts=True)
    assert len(counts) == 24
    expected = len(moves) / 24
    assert ((counts - expected) ** 2 / expected).sum() < 50


def test_pairs_that_miss_different_stimuli_are_permuted_alike():
    strata = np.arange(40) % 2
    whole = kernels.permutations(np.arange(40), 0, 1, strata)
    for usable in (np.arange(40) != 3, np.arange(40) % 10 != 7):
        part = kernels.permutations(np.arange(40), 0, 1, strata, usable)
        assert (strata[part] == strata).all()
        assert (part == whole).mean() > 0.75


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


def test_closed_chance_levels_are_means_over_all_permutations():
    a, b = two_sides("cka", n=5)
    for metric, options in (
        ("mutual_knn", {"k": 2}), ("cka", {"debiased": False}), ("cka", {}), ("rdm", {}),
        ("cka", {"kernel": "rbf"}), ("rsa", {"method": "spearman"}), ("rsa", {"method": "kendall"}),
        ("rsa", {"method": "rho-a"}),
    ):  # fmt: skip
        left, right, _ = sides(a, b, DIMS, "exact")
        own = own_options(metric, dict(options))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            recipe = MEASURES[metric].null(left, right, DIMS, **own)
        one, other = left.isel(model=[0]), right.isel(model=[1])
        everything = [
            scored(
                metric,
                one,
                other.isel(stimulus=list(p)).assign_coords(stimulus=other["stimulus"]),
                own,
            )
            for p in itertools.permutations(range(5))
        ]
        chance = recipe.chance
        if isinstance(chance, xr.DataArray):
            chance = float(chance[0, 1])
        assert np.mean(everything) == pytest.approx(chance, abs=1e-10), (metric, options)


def test_p_values_converge_to_those_of_all_permutations():
    a, b = two_sides("cka", n=6)
    a, b, _ = sides(a.isel(model=[0]), b.isel(model=[0]), DIMS, "exact")
    everything = np.array(
        [
            scored("cka", a, b.isel(stimulus=list(p)).assign_coords(stimulus=b["stimulus"]), {})
            for p in itertools.permutations(range(6))
        ]
    )
    exact = (everything >= everything[0] - 1e-12).mean()
    found = float(xc.calibrate(a, b, "cka", n_permutations=19_999, rng=0)["p_value"].item())
    assert found == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000) + 1e-4)


def test_corrections_for_many_pairs():
    p = np.array([[0.01, 0.04], [0.03, np.nan], [0.2, 0.002]])
    flat = np.sort(p[~np.isnan(p)])
    m = len(flat)
    harmonic = sum(1 / i for i in range(1, m + 1))
    for dependent, factor in ((False, 1.0), (True, harmonic)):
        found = kernels.false_discovery(p, dependent)
        assert np.isnan(found[1, 1])
        for value, adjusted in zip(p.ravel(), found.ravel(), strict=True):
            if not np.isnan(value):
                candidates = [flat[j] * m * factor / (j + 1) for j in range(m) if flat[j] >= value]
                assert adjusted == pytest.approx(min(1, min(candidates)))
    draws = np.random.default_rng(0).standard_normal((100, 2, 3))
    draws[0, 0, 0] = 6
    draws[:, 1, 2] = np.nan
    scaled = (draws - draws.mean(0)) / draws.std(0)
    found = kernels.max_adjusted(draws)
    assert np.isnan(found[1, 2])
    for i, j in np.ndindex(2, 3):
        if not np.isnan(draws[0, i, j]):
            beyond = sum(np.nanmax(one) >= scaled[0, i, j] - 1e-9 for one in scaled[1:])
            assert found[i, j] == (1 + beyond) / 100
    assert found[0, 0] == 0.01


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


@pytest.mark.parametrize("metric", ["mutual_knn", "cka", "rsa", "svcca"])
def test_order_and_chunks_change_nothing(metric):
    a, b = two_sides(metric, missing=0.1)
    options = OPTIONS.get(metric, {})
    call = {"n_permutations": 29, "rng": 1, **options}
    expected = xc.calibrate(a, b, metric, **call)
    for left, right in (
        (shuffled(a, 3), b),
        (a, shuffled(b, 4)),
        (a.chunk(model=1, stimulus=7), b.chunk(feature=2)),
    ):
        found = xc.calibrate(left, right, metric, **call)
        np.testing.assert_allclose(found["p_value"], expected["p_value"], atol=0)
        np.testing.assert_allclose(found["threshold"], expected["threshold"], atol=1e-12)


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
    same = xc.alignment(a, b, "cka", layers="max", n_permutations=39, rng=2)
    np.testing.assert_allclose(same["p_value"], table["p_value"])
    np.testing.assert_allclose(same["threshold"], table["threshold"])


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


def test_progress_is_shown_after_a_while(monkeypatch, capsys):
    report = runs.Report("calibrate cka")
    report(250, 1000)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(time, "monotonic", lambda: report.begin + 10.0)
    report(500, 1000)
    report(1000, 1000)
    assert "500 of 1,000, 10 s left" in capsys.readouterr().err


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


def test_overlap_p_values_are_hypergeometric():
    a, b = two_sides("mutual_knn", n=12)
    agreement = xc.alignment(a, b, k=3)
    found = xc.overlap_p_value(agreement)
    total = math.comb(11, 3)
    for share, p in zip(agreement.values.ravel(), found.values.ravel(), strict=True):
        shared = round(share * 3)
        exact = sum(math.comb(3, s) * math.comb(8, 3 - s) for s in range(shared, 4)) / total
        assert p == pytest.approx(exact)
    lazy = xc.overlap_p_value(xc.alignment(a.chunk(model=1), b, k=3))
    assert lazy.chunks
    xr.testing.assert_allclose(lazy.compute(), found)
    with pytest.raises(SchemaError, match="mutual_knn"):
        xc.overlap_p_value(xc.alignment(a, b, "rdm"))
    a, b = two_sides("mutual_knn", missing=0.2)
    with pytest.warns(RuntimeWarning, match="no exact p-value"):
        assert xc.overlap_p_value(xc.alignment(a, b, k=3)).isnull().any()


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
