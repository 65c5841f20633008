"""Neighbour graphs that are kept: order, joins, the index, the store."""

import re

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps, no_compute, shuffled
from xconverge.engine import resources
from xconverge.kernels.budgets import BUDGETS

METRICS = ["mutual_knn", "cycle_knn", "lcs_knn", "edit_distance_knn"]


def sides(n=60, missing=0.1):
    a = make_reps(3, n, [6, 4, 5], missing=missing, shared=False)
    b = make_reps(2, n, 5, seed=0, missing=missing, noise=1.0, shared=False)
    return a, b.assign_attrs(modality="language")


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("metric", METRICS)
def test_a_graph_stands_for_its_representations(metric):
    a, b = sides()
    expected = xc.alignment(a, b, metric, k=4)
    # long enough for what the other side misses
    graph_a, graph_b = xc.neighbor_graph(a, 20), xc.neighbor_graph(b, 20)
    for one, other in [(graph_a, graph_b), (graph_a, b), (a, graph_b)]:
        found = xc.alignment(one, other, metric, k=4)
        np.testing.assert_array_equal(found, expected)
        assert found.attrs == expected.attrs
    mixed = xc.alignment(shuffled(graph_a, 1), shuffled(graph_b, 2), metric, k=4)
    xr.testing.assert_allclose(mixed.mean(), expected.mean())


def test_a_graph_stands_for_them_in_dispersion_and_calibrate():
    a, b = sides()
    graph = xc.neighbor_graph(a, 20)
    expected = xc.dispersion(a, "neighborhood", k=5)
    np.testing.assert_array_equal(xc.dispersion(graph, "neighborhood", k=5), expected)
    options = {"k": 5, "n_permutations": 49, "rng": 0}
    table = xc.calibrate(graph, b, **options)
    np.testing.assert_array_equal(table["p_value"], xc.calibrate(a, b, **options)["p_value"])


@pytest.mark.parametrize(
    "call",
    [
        lambda g, b: xc.alignment(g, b, "cka"),
        lambda g, b: xc.alignment(g, b, "cknna", k=4),
        lambda g, b: xc.alignment(b, g, "rdm"),
        lambda g, b: xc.local_density(g, k=2),
        lambda g, b: xc.dispersion(g, "cosine"),
        lambda g, b: xc.neighbor_graph(g, 2),
    ],
)
def test_a_graph_is_refused_where_vectors_are_meant(call):
    a, b = sides()
    with pytest.raises(xc.SchemaError, match="neighbour graph"):
        call(xc.neighbor_graph(a, 5), b)


def test_graphs_that_no_longer_hold_are_refused():
    a, b = sides(missing=0.0)
    graph = xc.neighbor_graph(a, 5)
    with pytest.raises(xc.SchemaError, match="5 neighbours, k=6"):
        xc.alignment(graph, b, k=6)
    fewer = graph.isel(stimulus=slice(10, None))
    with pytest.raises(ValueError, match=r"k=3 nearest.*13 are enough"):
        xc.alignment(*xc.pair(fewer, b, join="inner"), k=3)
    with pytest.raises(xc.SchemaError, match="position"):
        xc.alignment(graph.drop_vars("position"), b, k=3)


@pytest.mark.parametrize("metric", METRICS)
def test_stimuli_left_out_since_drop_out_of_lists(metric):
    a, b = sides(20, missing=0.0)
    gone = a["stimulus"].values[[0, 7, 13]]
    graph = xc.neighbor_graph(a, 7).drop_sel(stimulus=gone)
    found = xc.alignment(graph, b.drop_sel(stimulus=gone), metric, k=4)
    expected = xc.alignment(a.drop_sel(stimulus=gone), b.drop_sel(stimulus=gone), metric, k=4)
    np.testing.assert_array_equal(found, expected)


def test_the_length_that_an_error_names_is_enough():
    a, b = sides(30)
    with pytest.raises(ValueError, match="are enough") as caught:
        xc.alignment(xc.neighbor_graph(a, 4), b, k=4)
    enough = int(re.search(r"(\d+) are enough", str(caught.value))[1])
    missing = int((b[:, :, 0].isnull()).sum("stimulus").max())
    assert 4 < enough <= 4 + missing
    longer = xc.neighbor_graph(a, 4 + missing)
    np.testing.assert_array_equal(xc.alignment(longer, b, k=4), xc.alignment(a, b, k=4))


@pytest.mark.slow
def test_a_graph_is_saved_into_the_store(tmp_path):
    a, b = sides()
    path = tmp_path / "study.zarr"
    xc.write_representations(path, a)
    graph = xc.neighbor_graph(xc.open_representations(path, "vision"), 20)
    with no_compute():
        assert graph.chunks
    xc.io.write_neighbors(path, graph)
    opened = xc.io.open_neighbors(path, "vision")
    np.testing.assert_array_equal(opened, graph)
    np.testing.assert_array_equal(xc.alignment(opened, b, k=5), xc.alignment(a, b, k=5))
    assert xc.open_representations(path, "vision").sizes == a.sizes
    assert "neighbor_graphs" in xc.open_store(path).children
    with pytest.raises(FileExistsError):
        xc.io.write_neighbors(path, graph)
    xc.io.write_neighbors(path, graph.isel(neighbor=slice(3)), overwrite=True)
    assert xc.io.open_neighbors(path, "vision").sizes["neighbor"] == 3
    with pytest.raises(FileNotFoundError, match="language"):
        xc.io.open_neighbors(path, "language")
    with pytest.raises(xc.SchemaError, match="neighbor_graph"):
        xc.io.write_neighbors(path, a)


@pytest.mark.slow
@pytest.mark.parametrize("lazy", [False, True])
def test_an_index_reports_its_recall(lazy):
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((30, 16))
    x = centers[rng.integers(30, size=2000)] + 0.4 * rng.standard_normal((2000, 16))
    reps = xc.stack_models({"a": x, "b": x[:, :8]}, stimuli=[f"s{i}" for i in range(2000)])
    reps[0, 5] = np.nan
    exact = xc.neighbor_graph(reps, 10)
    given = reps.chunk(stimulus=700) if lazy else reps
    few = xc.neighbor_graph(given, 10, neighbors="approximate", n_probes=1).compute()
    most = xc.neighbor_graph(given, 10, neighbors="approximate", n_probes=10**6).compute()
    assert (most["recall"] > 0.999).all()
    assert (few["recall"] < 0.95).all()
    assert (few["recall"] > 0.2).all()
    for graph in (few, most):
        assert np.isnan(graph[0, 5]).all()
        share = np.mean(
            [
                len(set(one) & set(other)) / 10
                for one, other in zip(exact[1].values, graph[1].values, strict=True)
            ]
        )
        assert float(graph["recall"][1]) == pytest.approx(share, abs=0.03)
        own = np.arange(2000)[None, :, None]
        assert not (graph == own).any()
    with pytest.raises(ValueError, match="11 are enough"):
        xc.alignment(few, reps, k=10)
    found = xc.alignment(few.isel(model=[1]), reps.isel(model=[1]), k=10)
    assert "recall" in " ".join(map(str, found.coords))


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS)
def test_alignment_searches_an_index_if_asked(metric):
    a, b = sides(160)
    found = xc.alignment(a.chunk(stimulus=60), b, metric, k=4, neighbors="approximate")
    np.testing.assert_array_equal(found, xc.alignment(a, b, metric, k=4))
    assert (found["recall_a"] == 1).all()
    assert found["recall_b"].dims == ("model_b",)
    assert found.attrs["neighbors"] == "approximate"
    graph = xc.neighbor_graph(a, 40)
    mixed = xc.alignment(graph, b, metric, k=4, neighbors="approximate")
    assert "recall_a" not in mixed.coords


def test_an_index_is_for_lists_only():
    a, b = sides()
    with pytest.raises(ValueError, match=r"neighbour lists.*'cka'"):
        xc.alignment(a, b, "cka", neighbors="approximate")


def test_an_index_that_does_not_fit_is_refused(monkeypatch):
    a, _ = sides()
    monkeypatch.setattr(BUDGETS, "small_task", 0)
    monkeypatch.setattr(resources, "free_bytes", lambda: 1000)
    with no_compute(), pytest.raises(MemoryError, match=r"index of 60 stimuli.*exact"):
        xc.neighbor_graph(a.chunk(stimulus=9), 3, neighbors="approximate")


def test_without_the_library_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(ImportError, match="approximate"):
        xc.neighbor_graph(sides()[0], 3, neighbors="approximate")
