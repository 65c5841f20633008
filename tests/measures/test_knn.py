"""Alignment, RDMs, RSA, modulation and binned RSA against plain loops."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform
from scipy.stats import pearsonr, spearmanr

import xconverge as xc
from tests import oracles
from tests.helpers import chunked, make_reps, no_compute, read_only, shuffled

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
