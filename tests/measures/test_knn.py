"""Alignment of neighbours, RDMs and cosines against plain loops."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr

import xconverge as xc
from tests import oracles
from tests.helpers import chunked, make_reps, no_compute, read_only, shuffled
from tests.measures.sides import one_model, plain_rdm, ragged_sides

TOLERANCE = {np.float32: 1e-6, np.float64: 1e-10}
K = 3


def plain_overlap(a, b, k):
    """In the order of a; dict of (model_a, model_b) to overlap per stimulus.

    Neighbours are those among the stimuli that both models of the pair saw.
    """
    b = b.sel(stimulus=a["stimulus"])
    labels = a["stimulus"].values
    scores = {}
    for p in a["model"].values:
        for q in b["model"].values:
            x, y = one_model(a, p), one_model(b, q)
            both = ~(np.isnan(x).any(1) | np.isnan(y).any(1))
            x, y = (np.where(both[:, None], side, np.nan) for side in (x, y))
            one, two = (oracles.neighbors(side, labels, k) for side in (x, y))
            row = []
            for i in range(a.sizes["stimulus"]):
                shared = [j for j in one[i] if j in two[i]] if both[i] else []
                row.append(len(shared) / k if both[i] else np.nan)
            scores[p, q] = row
    return scores


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
    a, b = ragged_sides(dtype)
    found = xc.alignment(a, b, k=K)
    assert found.dims == ("model_a", "model_b", "stimulus")
    assert_scores(found, plain_overlap(a, b, K), 1e-12)
    both = xc.alignment(a, b, k=K)["n_stimuli"] if "n_stimuli" in found.coords else None
    there = found.notnull().sum("stimulus")
    assert both is None or (both == there).all()
    np.testing.assert_array_equal(found["chance"], K / (there - 1))
    assert found.attrs["kind"] == "similarity"


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("metric", ["correlation", "cosine", "euclidean", "sqeuclidean"])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_rdm_rows_correlate(dtype, metric):
    a, b = ragged_sides(dtype)
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


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["mutual_knn", "rdm"])
@given(data=st.data())
def test_chunks_change_nothing_and_stay_lazy(metric, data):
    a, b = ragged_sides()
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
    own = {"k": 4, "rdm_metric": "euclidean"}
    expected = xc.alignment(a, b, metric, **own)
    for one, two in ((shuffled(a), b), (a, shuffled(b)), (shuffled(a, 1), shuffled(b, 2))):
        found = xc.alignment(one, two, metric, **own)
        xr.testing.assert_allclose(found.sel(stimulus=ids), expected, rtol=1e-12)


def test_identical_sets_align_perfectly_at_any_scale():
    a, _ = ragged_sides(missing=False)
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
    assert (score["chance"] == 10 / 199).all()
    assert float(score.mean()) == pytest.approx(10 / 199, abs=0.002)


def test_extra_dims_and_other_names():
    names = ("net", "item", "unit")
    a = make_reps(2, 9, [5, 4], dims=names, extra={"layer": 2})
    b = make_reps(2, 9, [4, 3], seed=3, dims=names)
    a, b = (xc.from_xarray(x, model="net", stimulus="item", feature="unit") for x in (a, b))
    both = xc.alignment(a, b, k=2)
    assert both.dims == ("layer", "model_a", "model_b", "stimulus")
    for layer in a["layer"].values:
        one = xc.alignment(a.sel(layer=layer, drop=True), b, k=2)
        xr.testing.assert_equal(both.sel(layer=layer, drop=True), one)


@pytest.mark.parametrize("missing", [False, True])
def test_lists_are_made_once_a_model(missing, monkeypatch):
    from xconverge.kernels import knn

    calls = []

    def counting(*args, **kwargs):
        calls.append(1)
        return real(*args, **kwargs)

    real = knn.nearest
    monkeypatch.setattr(knn, "nearest", counting)
    a, b = ragged_sides(missing=missing)
    xc.alignment(a, b, k=K)
    assert len(calls) == 5


def test_only_lists_that_run_short_are_searched_again(monkeypatch):
    from xconverge.kernels import neighbors

    asked = []

    def counting(unit, own, pool, *args, **kwargs):
        asked.append(len(own))
        return real(unit, own, pool, *args, **kwargs)

    real = neighbors.search
    monkeypatch.setattr(neighbors, "search", counting)
    xc.alignment(*ragged_sides(missing=False), k=K)
    assert asked == [12] * 5
    asked.clear()
    xc.alignment(*ragged_sides(), k=K)
    assert sum(asked) < 2 * 5 * 12


def test_many_lazy_models_do_not_warn():
    reps = make_reps(12, 12, 3, shared=False).chunk(model=1)
    assert xc.alignment(reps, reps, k=2).chunks
    assert xc.dispersion(reps, "neighborhood", k=2, pairwise=True).chunks


def test_coordinates_take_their_side():
    a, b = ragged_sides()
    b = b.assign_coords(caption=("stimulus", [f"text {i}" for i in range(12)]))
    found = xc.alignment(a, b, k=K)
    assert {"family_a", "family_b", "n_features_a", "caption_a", "caption_b"} <= set(found.coords)
    assert found["category"].values.tolist() == a["category"].values.tolist()
    assert found.sel(stimulus="s3")["caption_a"].item() == "a picture of 3"


def test_labels_that_differ():
    a, b = ragged_sides()
    with pytest.raises(xc.SchemaError, match=r"a has 12, b has 9, 9 are in both.*'s"):
        xc.alignment(a, b[:, :9], k=K)
    inner = xc.alignment(*xc.pair(a, b[:, :9], join="inner"), k=K)
    assert inner.attrs["n_dropped"] == 3
    other = b.assign_coords(stimulus=[f"x{i}" for i in range(12)])
    with pytest.raises(xc.SchemaError, match="share no label"):
        xc.pair(a, other, join="inner")


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(
    ("value", "word"),
    [(np.nan, "NaN or infinity"), (np.inf, "NaN or infinity"), (0, "zero vector")],
)
@pytest.mark.parametrize("lazy", [False, True])
def test_faulty_rows_are_named_with_their_side(value, word, lazy):
    a, b = ragged_sides()
    b = b.copy()
    where = {"model": "gpt", "stimulus": "s4", "feature": slice(0, 5 if value == 0 else 1)}
    b.loc[{"model": "gpt", "stimulus": "s4"}][where["feature"]] = value
    sides = (a.chunk(stimulus=5), b.chunk(stimulus=5)) if lazy else (a, b)
    with pytest.raises(xc.SchemaError, match=f"b has .*{word}.*'gpt'.*'s4'"):
        xc.alignment(*sides, k=K).compute(scheduler="threads")


@pytest.mark.parametrize("k", [0, 12, 100])
def test_k_out_of_range(k):
    a, b = ragged_sides()
    with pytest.raises(ValueError, match=f"12 stimuli.*k={k}|k={k}.* 12"):
        xc.alignment(a, b, k=k)


@pytest.mark.parametrize("saw", [1, 3])
def test_a_model_that_saw_too_few_has_no_score_and_harms_no_other(saw):
    a, b = ragged_sides(missing=False)
    expected = xc.alignment(a, b, k=K)
    a = a.copy()
    a[1, saw:] = np.nan
    with pytest.warns(RuntimeWarning, match=f"at least 4 stimuli.*that share {saw} have"):
        found = xc.alignment(a, b, k=K)
    assert found[1].isnull().all()
    assert found["chance"][1].isnull().all()
    xr.testing.assert_equal(found[[0, 2]], expected[[0, 2]])


def test_all_equal_rows_have_the_first_labels_as_neighbors():
    ids = [f"s{i}" for i in range(12)]
    a = xc.stack_models({"flat": np.ones((12, 3))}, stimuli=ids)
    _, b = ragged_sides(missing=False)
    assert_scores(xc.alignment(a, b, k=K), plain_overlap(a, b, K), 1e-12)
    with pytest.warns(RuntimeWarning, match="12 stimuli"):
        score = xc.alignment(a, b, "rdm", rdm_metric="euclidean")
    assert score.isnull().all()


@pytest.mark.slow
def test_models_that_share_no_stimulus_are_nan():
    a, b = ragged_sides(missing=False)
    a, b = a.copy(), b.copy()
    first, second = a["stimulus"].values[:6], a["stimulus"].values[6:]
    a.loc[{"model": "net0", "stimulus": first}] = np.nan
    b.loc[{"model": "bert", "stimulus": second}] = np.nan
    for metric in ("mutual_knn", "rdm"):
        with pytest.warns(RuntimeWarning, match="pairs that share 0 have none: NaN"):
            found = xc.alignment(a, b, metric, k=2)
        assert found.sel(model_a="net0", model_b="bert").isnull().all()


@pytest.mark.slow
def test_inputs_are_not_touched():
    before = ragged_sides()
    a, b = (read_only(side) for side in before)
    for metric in ("mutual_knn", "rdm"):
        xc.alignment(a, b, metric, k=K)
    xc.shared_space(a, n_components=2)
    for side, same in zip((a, b), before, strict=True):
        xr.testing.assert_identical(side, same)
