"""Alignment, RDMs, RSA, modulation and binned RSA against plain loops."""

from itertools import permutations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform
from scipy.stats import pearsonr, rankdata, spearmanr

import xconverge as xc
from tests import oracles
from tests.helpers import chunked, make_reps, no_compute, read_only, shuffled
from xconverge.testing import planted_study

TOLERANCE = {np.float32: 1e-6, np.float64: 1e-10}
K = 3


def two_sides(dtype=np.float64, missing=True, **options):
    gaps = ([(0, 2), (1, 2), (1, 5)], [(0, 7)]) if missing else ([], [])
    a = make_reps(3, 12, [6, 4, 5], seed=1, missing=gaps[0], dtype=dtype, **options)
    b = make_reps(2, 12, [7, 5], seed=2, missing=gaps[1], dtype=dtype, **options)
    b = b.assign_coords(model=["bert", "gpt"])
    b.attrs["modality"] = "language"
    return a, b


def one_model(reps, name):
    array = reps.sel(model=name)
    return array.values[:, : int(array["n_features"])].astype(np.float64)


def plain_overlap(a, b, k):
    """In the order of a; dict of (model_a, model_b) to overlap per stimulus."""
    b = b.sel(stimulus=a["stimulus"])
    lists = {}
    for side, reps in (("a", a), ("b", b)):
        for name in reps["model"].values:
            x = one_model(reps, name)
            lists[side, name] = oracles.neighbors(x, reps["stimulus"].values, k)
    scores = {}
    for p in a["model"].values:
        for q in b["model"].values:
            row = []
            for i in range(a.sizes["stimulus"]):
                mine, theirs = lists["a", p][i], lists["b", q][i]
                shared = [j for j in mine if j in theirs]
                row.append(len(shared) / k if mine and theirs else np.nan)
            scores[p, q] = row
    return scores


def plain_rdm(x, metric):
    n = len(x)
    result = np.full((n, n), np.nan)
    seen = [i for i in range(n) if not np.isnan(x[i]).any()]
    result[np.ix_(seen, seen)] = squareform(pdist(x[seen], metric))
    return result


def plain_rdm_rows(a, b, metric):
    b = b.sel(stimulus=a["stimulus"])
    scores = {}
    for p in a["model"].values:
        for q in b["model"].values:
            one, two = plain_rdm(one_model(a, p), metric), plain_rdm(one_model(b, q), metric)
            row = []
            for i in range(len(one)):
                pairs = [
                    (one[i, j], two[i, j])
                    for j in range(len(one))
                    if j != i and not np.isnan(one[i, j]) and not np.isnan(two[i, j])
                ]
                row.append(pearsonr(*zip(*pairs, strict=True)).statistic if pairs else np.nan)
            scores[p, q] = row
    return scores


def assert_scores(found, expected, rtol):
    for (p, q), row in expected.items():
        found_row = found.sel(model_a=p, model_b=q)
        np.testing.assert_allclose(found_row, row, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_mutual_knn_is_the_shared_neighbors(dtype):
    a, b = two_sides(dtype)
    found = xc.alignment(a, b, k=K)
    assert found.dims == ("model_a", "model_b", "stimulus")
    assert_scores(found, plain_overlap(a, b, K), 1e-12)
    assert found.attrs["chance"] == K / 11
    assert found.attrs["kind"] == "similarity"


@pytest.mark.parametrize("metric", ["correlation", "cosine", "euclidean", "sqeuclidean"])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_rdm_rows_correlate(dtype, metric):
    a, b = two_sides(dtype)
    found = xc.alignment(a, b, "rdm", rdm_metric=metric)
    assert_scores(found, plain_rdm_rows(a, b, metric), TOLERANCE[dtype])


def test_cosine_of_shared_features():
    a = make_reps(2, 8, 5, seed=1, missing=[(0, 3)])
    b = shuffled(make_reps(3, 8, 5, seed=2))
    found = xc.alignment(a, b, "cosine")
    for p in a["model"].values:
        for q in b["model"].values:
            for s in a["stimulus"].values:
                u, v = a.sel(model=p, stimulus=s).values, b.sel(model=q, stimulus=s).values
                cosine = u @ v / np.sqrt((u @ u) * (v @ v))
                value = float(found.sel(model_a=p, model_b=q, stimulus=s))
                assert value == pytest.approx(cosine, abs=1e-12, nan_ok=True)


def test_cosine_of_unrelated_features_warns_and_of_other_widths_raises():
    a = make_reps(2, 8, 5, shared=False)
    with pytest.warns(xc.UnalignedSpaceWarning, match="shared_space"):
        xc.alignment(a, a, "cosine")
    with pytest.raises(xc.SchemaError, match=r"\[4, 5\]"):
        xc.alignment(make_reps(2, 8, 5), make_reps(2, 8, 4), "cosine")


@pytest.mark.parametrize("metric", ["mutual_knn", "rdm"])
@given(data=st.data())
def test_chunks_change_nothing_and_stay_lazy(metric, data):
    a, b = two_sides()
    expected = xc.alignment(a, b, metric, k=K)
    lazy = data.draw(chunked(a)), data.draw(chunked(b))
    with no_compute():
        found = xc.alignment(*lazy, metric, k=K)
    assert found.chunks is not None
    xr.testing.assert_allclose(found.compute(scheduler="threads"), expected, rtol=1e-12)


@pytest.mark.parametrize("metric", ["mutual_knn", "rdm"])
def test_order_changes_no_number_even_with_ties(metric):
    rng = np.random.default_rng(0)
    ids = [f"s{i}" for i in range(30)]
    a = xc.stack_models({"a": rng.integers(0, 2, (30, 4)) + 1.0 * np.eye(30, 4)}, stimuli=ids)
    b = xc.stack_models({"b": rng.integers(0, 2, (30, 3)) + 1.0 * np.eye(30, 3) + 1}, stimuli=ids)
    a = a + 0.5
    rdm_metric = "euclidean"
    expected = xc.alignment(a, b, metric, k=4, rdm_metric=rdm_metric)
    for one, two in ((shuffled(a), b), (a, shuffled(b)), (shuffled(a, 1), shuffled(b, 2))):
        found = xc.alignment(one, two, metric, k=4, rdm_metric=rdm_metric)
        xr.testing.assert_allclose(found.sel(stimulus=ids), expected, rtol=1e-12)


def test_identical_sets_align_perfectly_at_any_scale():
    a, _ = two_sides(missing=False)
    for metric in ("mutual_knn", "rdm"):
        score = xc.alignment(a, 1e3 * shuffled(a), metric, k=K)
        own = [score.sel(model_a=name, model_b=name) for name in a["model"].values]
        np.testing.assert_allclose(own, 1, atol=1e-6)


def test_chance_is_what_unrelated_sets_score():
    rng = np.random.default_rng(0)
    ids = [f"s{i}" for i in range(200)]
    sides = [
        xc.stack_models({f"{i}": rng.standard_normal((200, 8)) for i in range(8)}, stimuli=ids)
        for _ in range(2)
    ]
    score = xc.alignment(*sides, k=10)
    assert float(score.mean()) == pytest.approx(score.attrs["chance"], abs=0.002)


def test_extra_dims_and_other_names():
    names = ("net", "item", "unit")
    a = make_reps(2, 9, [5, 4], dims=names, extra={"layer": 2})
    b = make_reps(2, 9, [4, 3], seed=3, dims=names)
    options = {"model": "net", "stimulus": "item", "feature": "unit", "k": 2}
    both = xc.alignment(a, b, **options)
    assert both.dims == ("layer", "net_a", "net_b", "item")
    for layer in a["layer"].values:
        one = xc.alignment(a.sel(layer=layer, drop=True), b, **options)
        xr.testing.assert_equal(both.sel(layer=layer, drop=True), one)


def test_lists_are_made_once_a_model(monkeypatch):
    from xconverge.kernels import neighbors

    calls = []

    def counting(*args, **kwargs):
        calls.append(1)
        return real(*args, **kwargs)

    real = neighbors._search
    monkeypatch.setattr(neighbors, "_search", counting)
    a, b = two_sides()
    xc.alignment(a, b, k=K)
    assert len(calls) == 5


def test_many_lazy_models_do_not_warn():
    reps = make_reps(12, 12, 3, shared=False).chunk(model=1)
    assert xc.alignment(reps, reps, k=2).chunks
    assert xc.dispersion(reps, "neighborhood", k=2, pairwise=True).chunks


def test_coordinates_take_their_side():
    a, b = two_sides()
    b = b.assign_coords(caption=("stimulus", [f"text {i}" for i in range(12)]))
    found = xc.alignment(a, b, k=K)
    assert {"family_a", "family_b", "n_features_a", "caption_a", "caption_b"} <= set(found.coords)
    assert found["category"].values.tolist() == a["category"].values.tolist()
    assert found.sel(stimulus="s3")["caption_a"].item() == "a picture of 3"


def test_labels_that_differ():
    a, b = two_sides()
    with pytest.raises(xc.SchemaError, match=r"a has 12, b has 9, 9 are in both.*'s"):
        xc.alignment(a, b[:, :9], k=K)
    inner = xc.alignment(a, b[:, :9], k=K, join="inner")
    assert inner.attrs["n_dropped"] == 3
    other = b.assign_coords(stimulus=[f"x{i}" for i in range(12)])
    with pytest.raises(xc.SchemaError, match="share no label"):
        xc.alignment(a, other, k=K, join="inner")


@pytest.mark.parametrize(
    ("value", "word"),
    [(np.nan, "NaN or infinity"), (np.inf, "NaN or infinity"), (0, "zero vector")],
)
@pytest.mark.parametrize("lazy", [False, True])
def test_faulty_rows_are_named_with_their_side(value, word, lazy):
    a, b = two_sides()
    b = b.copy()
    where = {"model": "gpt", "stimulus": "s4", "feature": slice(0, 5 if value == 0 else 1)}
    b.loc[{"model": "gpt", "stimulus": "s4"}][where["feature"]] = value
    sides = (a.chunk(stimulus=5), b.chunk(stimulus=5)) if lazy else (a, b)
    with pytest.raises(xc.SchemaError, match=f"b has .*{word}.*'gpt'.*'s4'"):
        xc.alignment(*sides, k=K).compute(scheduler="threads")


@pytest.mark.parametrize("k", [0, 12, 100])
def test_k_out_of_range(k):
    a, b = two_sides()
    with pytest.raises(ValueError, match=f"k={k}.*12"):
        xc.alignment(a, b, k=k)


def test_a_model_that_saw_too_few_is_named():
    a, b = two_sides(missing=False)
    a = a.copy()
    a[1, 3:] = np.nan
    with pytest.raises(xc.SchemaError, match="'net1'.*k=3 needs at least 4 stimuli, it saw 3"):
        xc.alignment(a, b, k=K)


def test_all_equal_rows_have_the_first_labels_as_neighbors():
    ids = [f"s{i}" for i in range(12)]
    a = xc.stack_models({"flat": np.ones((12, 3))}, stimuli=ids)
    _, b = two_sides(missing=False)
    assert_scores(xc.alignment(a, b, k=K), plain_overlap(a, b, K), 1e-12)
    with pytest.warns(RuntimeWarning, match="12 stimuli"):
        score = xc.alignment(a, b, "rdm", rdm_metric="euclidean")
    assert score.isnull().all()


def test_models_that_share_no_stimulus_are_nan():
    a, b = two_sides(missing=False)
    a, b = a.copy(), b.copy()
    first, second = a["stimulus"].values[:6], a["stimulus"].values[6:]
    a.loc[{"model": "net0", "stimulus": first}] = np.nan
    b.loc[{"model": "bert", "stimulus": second}] = np.nan
    for metric in ("mutual_knn", "rdm"):
        assert xc.alignment(a, b, metric, k=2).sel(model_a="net0", model_b="bert").isnull().all()


def test_inputs_are_not_touched():
    before = two_sides()
    a, b = (read_only(side) for side in before)
    for metric in ("mutual_knn", "rdm"):
        xc.alignment(a, b, metric, k=K)
    by = xr.DataArray(np.arange(12.0), dims="stimulus", coords={"stimulus": a["stimulus"]})
    xc.binned_rsa(a, b, by, n_bins=2, n_permutations=5)
    xc.modulation(by, xc.alignment(a, b, k=K), n_bins=2, n_permutations=5)
    xc.shared_space(a, n_components=2)
    for side, same in zip((a, b), before, strict=True):
        xr.testing.assert_identical(side, same)


@pytest.mark.parametrize("metric", ["correlation", "cosine", "euclidean", "sqeuclidean"])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_rdm_is_scipys(metric, dtype):
    a, _ = two_sides(dtype)
    found = xc.rdm(a, metric)
    assert found.dims == ("model", "stimulus", "stimulus_2")
    assert found.dtype == dtype
    assert found["caption_2"].values.tolist() == a["caption"].values.tolist()
    for name in a["model"].values:
        expected = plain_rdm(one_model(a, name), metric)
        np.testing.assert_allclose(found.sel(model=name), expected, rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("metric", ["correlation", "cosine", "euclidean", "sqeuclidean"])
def test_near_duplicates_keep_their_digits(metric):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, 20)) + 100 * (metric == "euclidean")
    x[1] = x[0] + 1e-7 * rng.standard_normal(20)
    x[3] = x[2]
    found = xc.rdm(xc.stack_models({"a": x}, stimuli=list("abcdef")), metric)[0].values
    unit = x - x.mean(1, keepdims=True) if metric == "correlation" else x
    if metric in ("correlation", "cosine"):
        unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    square = ((unit[0] - unit[1]) ** 2).sum()
    expected = {"euclidean": np.sqrt(square), "sqeuclidean": square}.get(metric, square / 2)
    assert found[0, 1] == pytest.approx(expected, rel=1e-6)
    assert found[2, 3] == pytest.approx(0, abs=1e-15)


def test_rdm_without_a_model_dim():
    a, _ = two_sides()
    one = xc.rdm(a.sel(model="net1"))
    assert one.dims == ("stimulus", "stimulus_2")
    np.testing.assert_array_equal(one, xc.rdm(a).sel(model="net1"))


@pytest.mark.parametrize(("method", "plain"), [("spearman", spearmanr), ("pearson", pearsonr)])
def test_rsa_compares_upper_triangles(method, plain):
    a, b = two_sides()
    found = xc.rsa(xc.rdm(a), xc.rdm(shuffled(b)), method)
    assert found.dims == ("model_a", "model_b")
    for p in a["model"].values:
        for q in b["model"].values:
            one = plain_rdm(one_model(a, p), "correlation")
            two = plain_rdm(one_model(b.sel(stimulus=a["stimulus"]), q), "correlation")
            values = [
                (one[i, j], two[i, j])
                for i in range(12)
                for j in range(i + 1, 12)
                if not np.isnan(one[i, j] + two[i, j])
            ]
            expected = plain(*zip(*values, strict=True)).statistic
            assert float(found.sel(model_a=p, model_b=q)) == pytest.approx(expected, abs=1e-10)


def test_rsa_with_a_brain_without_models():
    a, b = two_sides()
    brain = xr.concat([xc.rdm(b).sel(model=m, drop=True) for m in ("bert", "gpt")], "subject")
    found = xc.rsa(xc.rdm(a), brain.assign_coords(subject=["x", "y"]))
    assert found.dims == ("model_a", "subject")
    np.testing.assert_allclose(found, xc.rsa(xc.rdm(a), xc.rdm(b)), rtol=1e-12)
    columns = brain.isel(stimulus_2=np.random.default_rng(0).permutation(12))
    np.testing.assert_allclose(xc.rsa(xc.rdm(a), columns), found, rtol=1e-12)


def test_rsa_refuses_or_says_nan():
    a, b = two_sides(missing=False)
    lopsided = xc.rdm(b)
    lopsided[0, 0, 1] += 1
    with pytest.raises(ValueError, match="symmetric"):
        xc.rsa(xc.rdm(a), lopsided)
    with pytest.warns(RuntimeWarning, match="at least 3 pairs of stimuli, got 1"):
        few = xc.rsa(xc.rdm(a[:, :2]), xc.rdm(b.sel(stimulus=a["stimulus"][:2])))
    assert few.isnull().all()
    with pytest.warns(RuntimeWarning, match="differ"):
        flat = xc.rsa(xc.rdm(a), 0 * xc.rdm(b))
    assert flat.isnull().all()


@given(st.lists(st.integers(0, 40), min_size=6, max_size=30), st.integers(2, 4))
def test_bins_follow_the_edges(values, n_bins):
    x = xr.DataArray(
        np.array(values, float),
        dims="stimulus",
        coords={"stimulus": [f"s{i}" for i in range(len(values))]},
    )
    edges = np.quantile(values, np.linspace(0, 1, n_bins + 1))
    if (np.diff(edges) <= 0).any():
        with pytest.raises(
            ValueError, match=rf"\b{len(set(values))}\b.*distinct|there are {len(set(values))}"
        ):
            xc.dispersion_bins(x, n_bins)
        return
    bins = xc.dispersion_bins(x, n_bins)
    assert bins.attrs["edges"] == pytest.approx(edges.tolist())
    for value, found in zip(values, bins.values, strict=True):
        expected = next(b for b in range(n_bins) if value <= edges[b + 1])
        assert found == expected


def test_a_stimulus_without_dispersion_has_no_bin():
    x = xr.DataArray(
        [0.1, np.nan, 0.3, 0.2, 0.4], dims="stimulus", coords={"stimulus": list("abcde")}
    )
    assert xc.dispersion_bins(x, 2).values.tolist() == [0, -1, 1, 0, 1]


@pytest.fixture
def effect():
    a, b = two_sides()
    spread = xc.dispersion(a, "rdm")
    return spread, xc.alignment(a, b, k=K)


def test_modulation_is_spearmans_over_common_stimuli(effect):
    spread, agreement = effect
    table = xc.modulation(shuffled(spread), agreement, n_bins=2, n_permutations=200, rng=0)
    for p in agreement["model_a"].values:
        for q in agreement["model_b"].values:
            y = agreement.sel(model_a=p, model_b=q).values
            keep = ~np.isnan(y) & ~np.isnan(spread.values)
            one = table.sel(model_a=p, model_b=q)
            expected = spearmanr(spread.values[keep], y[keep]).statistic
            assert float(one["correlation"]) == pytest.approx(expected, abs=1e-12)
            assert int(one["n_stimuli"]) == keep.sum()
            bins = xc.dispersion_bins(spread, 2).values
            for bin in (0, 1):
                mean = np.nanmean(y[bins == bin])
                assert float(one["alignment_by_bin"].sel(bin=bin)) == pytest.approx(mean)
    mean = agreement.mean(["model_a", "model_b"])
    keep = spread.notnull().values
    expected = spearmanr(spread[keep], np.round(mean[keep], 12)).statistic
    assert float(table["correlation_of_mean"]) == pytest.approx(expected, abs=1e-12)
    p_values = table["p_value"].values
    assert ((p_values >= 1 / 201) & (p_values <= 1)).all()


def test_modulation_with_covariates_is_the_partial_correlation(effect):
    spread, agreement = effect
    y = agreement.mean(["model_a", "model_b"]).round(12)
    z = spread.rename("z").reset_coords(drop=True) ** 2
    z = z + np.random.default_rng(0).standard_normal(12)
    keep = spread.notnull().values
    design = np.stack([np.ones(keep.sum()), rankdata(z[keep])], 1)
    left, right = (
        rankdata(v[keep]) - design @ np.linalg.lstsq(design, rankdata(v[keep]), rcond=None)[0]
        for v in (spread, y)
    )
    table = xc.modulation(spread, y, covariates=shuffled(z), n_bins=2, n_permutations=10)
    assert float(table["correlation"]) == pytest.approx(pearsonr(left, right).statistic, abs=1e-12)


def test_p_values_are_the_share_of_permutations():
    x = np.array([1.0, 2, 3, 4, 5, 6])
    y = np.array([2.0, 1, 4, 3, 6, 5])
    labels = {"stimulus": list("abcdef")}
    observed = spearmanr(x, y).statistic
    null = [spearmanr(x[list(p)], y).statistic for p in permutations(range(6))]
    for tail, exact in (
        ("greater", np.mean([r >= observed - 1e-12 for r in null])),
        ("less", np.mean([r <= observed + 1e-12 for r in null])),
        ("two-sided", np.mean([abs(r) >= abs(observed) - 1e-12 for r in null])),
    ):
        table = xc.modulation(
            xr.DataArray(x, dims="stimulus", coords=labels),
            xr.DataArray(y, dims="stimulus", coords=labels),
            n_bins=2,
            n_permutations=20_000,
            tail=tail,
            rng=0,
        )
        assert float(table["p_value"]) == pytest.approx(exact, abs=0.01)


def test_the_null_is_rejected_as_often_as_said():
    rng = np.random.default_rng(0)
    labels = [f"s{i}" for i in range(25)]
    x = xr.DataArray(rng.standard_normal(25), dims="stimulus", coords={"stimulus": labels})
    y = xr.DataArray(
        rng.standard_normal((1000, 25)), dims=("model_a", "stimulus"), coords={"stimulus": labels}
    )
    p = xc.modulation(x, y, n_permutations=199, rng=0)["p_value"].values
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.02)
    assert np.mean(p <= 0.5) == pytest.approx(0.5, abs=0.05)


@given(data=st.data())
def test_modulation_is_lazy_and_chunks_change_no_p_value(data):
    a, b = two_sides()
    spread, agreement = xc.dispersion(a, "rdm"), xc.alignment(a, b, k=K)
    expected = xc.modulation(spread, agreement, n_bins=2, n_permutations=50, rng=1)
    lazy = data.draw(chunked(spread)), data.draw(chunked(agreement))
    with no_compute():
        found = xc.modulation(*lazy, n_bins=2, n_permutations=50, rng=1)
    xr.testing.assert_allclose(found.compute(scheduler="threads"), expected, rtol=1e-12)
    xr.testing.assert_equal(found["p_value"].compute(scheduler="threads"), expected["p_value"])


def test_modulation_of_too_few_stimuli_is_nan_with_a_warning():
    x = xr.DataArray([1.0, 2.0], dims="stimulus", coords={"stimulus": ["a", "b"]})
    with pytest.warns(RuntimeWarning, match="at least 3 stimuli, got 2"):
        table = xc.modulation(x, x, n_bins=2, n_permutations=9)
    assert np.isnan(table["correlation"])
    assert np.isnan(table["p_value"])


def binned(**options):
    a, b = two_sides(missing=False)
    by = xr.DataArray(
        np.random.default_rng(0).permutation(12) / 1.0,
        dims="stimulus",
        coords={"stimulus": a["stimulus"].values},
    )
    return a, b, by, xc.binned_rsa(a, b, shuffled(by), n_bins=2, rng=0, **options)


@pytest.mark.parametrize("average", ["rdm", None])
def test_binned_rsa_is_rsa_inside_each_bin(average):
    a, b, by, table = binned(average=average, n_permutations=49)
    bins = xc.dispersion_bins(by, 2)
    for bin in (0, 1):
        inside = by["stimulus"].values[bins.values == bin]
        models = xc.rdm(a.sel(stimulus=inside))
        models = models.mean("model") if average else models
        expected = xc.rsa(models, xc.rdm(b.sel(stimulus=inside)))
        np.testing.assert_allclose(table["rsa"].sel(bin=bin), expected, rtol=1e-10)
        assert int(table["n_stimuli"].sel(bin=bin)) == len(inside) == 6
    p = table["p_value"].values
    assert ((p >= 1 / 50) & (p <= 1)).all()


def test_binned_rsa_of_the_mean_representation():
    a, b = make_reps(3, 12, 6), make_reps(2, 12, 5, seed=4)
    by = xr.DataArray(np.arange(12.0), dims="stimulus", coords={"stimulus": a["stimulus"].values})
    table = xc.binned_rsa(a, b, by, 2, average="representation", n_permutations=0)
    low = a.isel(stimulus=slice(6)).mean("model")
    expected = xc.rsa(xc.rdm(low), xc.rdm(b.sel(stimulus=low["stimulus"])))
    np.testing.assert_allclose(table["rsa"].sel(bin=0), expected)
    with pytest.warns(xc.UnalignedSpaceWarning):
        xc.binned_rsa(
            make_reps(3, 12, 6, shared=False), b, by, 2, average="representation", n_permutations=0
        )


def test_mantels_p_value_is_the_share_of_permutations():
    rng = np.random.default_rng(3)
    ids = list("abcde")
    a = xc.stack_models({"a": rng.standard_normal((10, 4))}, stimuli=[*ids, *"vwxyz"])
    b = xc.stack_models({"b": rng.standard_normal((10, 4))}, stimuli=[*ids, *"vwxyz"])
    by = xr.DataArray(np.arange(10.0), dims="stimulus", coords={"stimulus": [*ids, *"vwxyz"]})
    table = xc.binned_rsa(a, b, by, 2, n_permutations=5000, rng=0)
    one, two = (xc.rdm(side.sel(stimulus=ids))[0].values for side in (a, b))
    upper = np.triu_indices(5, 1)
    observed = spearmanr(one[upper], two[upper]).statistic
    null = [
        spearmanr(one[np.ix_(p, p)][upper], two[upper]).statistic for p in permutations(range(5))
    ]
    exact = np.mean([r >= observed - 1e-12 for r in null])
    assert table["p_value"].sel(bin=0).item() == pytest.approx(exact, abs=0.03)


def test_binned_rsa_with_another_set_of_stimuli():
    a, b, by, table = binned(n_permutations=0)
    with pytest.raises(xc.SchemaError, match="reps has 12, by has 10"):
        xc.binned_rsa(a, b, by[:10], n_bins=2)
    inner = xc.binned_rsa(a, b.sel(stimulus=by["stimulus"][:11]), by, 2, join="inner")
    assert int(inner["n_stimuli"].sum()) == 11
    assert table["rsa"].dims == ("bin", "model_b")


def test_a_bin_of_two_stimuli_is_nan_with_a_warning():
    a, b, by, _ = binned(n_permutations=0)
    few = by["stimulus"].values[:4]
    with pytest.warns(RuntimeWarning, match="at least 3 pairs"):
        table = xc.binned_rsa(
            a.sel(stimulus=few), b.sel(stimulus=few), by.sel(stimulus=few), 2, n_permutations=9
        )
    assert table["rsa"].isnull().all()
    assert table["p_value"].isnull().all()


def test_binned_rsa_reads_features_only_when_computed():
    a, b, by, expected = binned(average=None, n_permutations=20)
    with no_compute():
        found = xc.binned_rsa(
            a.chunk(stimulus=5, model=1),
            b.chunk(feature=3),
            by,
            2,
            average=None,
            n_permutations=20,
            rng=0,
        )
    xr.testing.assert_allclose(found.compute(scheduler="threads"), expected, rtol=1e-10)


def test_a_planted_effect_is_found_against_a_brain():
    sets = planted_study(rng=1)
    table = xc.binned_rsa(sets["vision"], sets["language"], sets["vision"]["noise"], 3, rng=0)
    low, high = table["rsa"].mean("model_b").sel(bin=[0, 2]).values
    assert low > high + 0.2
    assert (table["p_value"].sel(bin=0) < 0.01).all()
