"""Neighbour graphs that are shared: what stands for features, what pools are, what is merged."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xconverge as xc
from tests.helpers import make_reps, no_compute, shuffled
from xconverge.cli.demo import shipped
from xconverge.engine.pair import Pair
from xconverge.labels.pools import pool_hash

N = 24
K = 4


def models(count: int = 4, missing: float = 0.1) -> xr.DataArray:
    return make_reps(count, N, [6, 4, 5, 6, 4, 5][:count], missing=missing, shared=False)


def graph_of(reps: xr.DataArray, k: int = N - 1) -> xr.DataArray:
    return xc.neighbor_graph(reps, k)


# models that missed stimuli have fewer neighbours than N - 1, of which a graph so long warns
pytestmark = pytest.mark.filterwarnings("ignore:k=.* neighbours need:RuntimeWarning")


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    lengths=st.lists(st.integers(16, N - 1), min_size=3, max_size=3),
    lazy=st.lists(st.booleans(), min_size=3, max_size=3),
    parts=st.permutations([0, 1, 2]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_a_merged_graph_is_that_of_all_models(
    seed: int, lengths: list[int], lazy: list[bool], parts: list[int], dtype: Any
) -> None:
    reps = models(6)
    graphs = [graph_of(shuffled(reps[2 * i : 2 * i + 2], seed + i), lengths[i]) for i in parts]
    graphs = [
        (one.chunk(model=1) if whole else one).astype(dtype)
        for one, whole in zip(graphs, lazy, strict=True)
    ]
    with no_compute():
        merged = xc.io.merge_neighbors(*graphs)
    assert (merged.chunks is not None) == any(lazy)
    assert merged.attrs["pool_hash"] == pool_hash(reps["stimulus"].values)
    assert merged.attrs["k"] == min(lengths)
    assert merged.sizes["neighbor"] == max(lengths)
    assert merged.indexes["stimulus"].equals(graphs[0].indexes["stimulus"])
    expected = reps.isel(model=np.concatenate([[2 * i, 2 * i + 1] for i in parts]))
    found = xc.dispersion(merged, "neighborhood", k=K)
    xr.testing.assert_identical(
        found.sel(stimulus=reps["stimulus"].values).compute(),
        xc.dispersion(expected, "neighborhood", k=K),
    )
    for metric in ("mutual_knn", "lcs_knn"):
        xr.testing.assert_allclose(
            xc.alignment(merged, reps, metric, k=K).compute(),
            xc.alignment(expected.sel(stimulus=merged["stimulus"].values), reps, metric, k=K),
            rtol=1e-14,
        )


def test_three_graphs_in_three_orders_become_one() -> None:
    reps = models(6)
    parts = [shuffled(reps[2 * i : 2 * i + 2], i) for i in range(3)]
    merged = xc.io.merge_neighbors(*map(graph_of, parts))
    xr.testing.assert_identical(
        xc.dispersion(merged.sel(stimulus=reps["stimulus"].values), "neighborhood", k=K),
        xc.dispersion(reps, "neighborhood", k=K),
    )


def test_a_merged_graph_of_graphs_that_were_cut() -> None:
    mine, theirs = models()[:2], models()[2:].isel(stimulus=slice(3, None))
    one, other = xc.pair(graph_of(mine), graph_of(theirs, N - 4), join="inner")
    merged = xc.io.merge_neighbors(one, other)
    cut = models().sel(stimulus=one["stimulus"].values)
    np.testing.assert_array_equal(
        xc.dispersion(merged, "neighborhood", k=K), xc.dispersion(cut, "neighborhood", k=K)
    )
    again = xc.io.merge_neighbors(merged[:2], merged[2:])
    np.testing.assert_array_equal(again, merged)
    short = xc.pair(graph_of(mine, K), graph_of(theirs, N - 4), join="inner")
    with pytest.raises(ValueError, match=r"k=4 nearest.* are enough"):
        xc.dispersion(xc.io.merge_neighbors(*short), "neighborhood", k=K)


def test_lists_that_are_too_short_for_what_is_asked_say_so() -> None:
    a, b = models(missing=0.0)[:2], models(missing=0.0)[2:]
    merged = xc.io.merge_neighbors(graph_of(a, 8), graph_of(b, 3))
    assert merged.attrs["k"] == 3
    xc.dispersion(merged, "neighborhood", k=3)
    with pytest.raises(ValueError, match=r"fewer than the k=4 nearest.*neighbor_graph\(reps, k=4"):
        xc.dispersion(merged, "neighborhood", k=4)


def test_graphs_that_do_not_belong_together_are_refused() -> None:
    reps = models()
    one, other = graph_of(reps[:2], 15), graph_of(reps[2:], 15)
    fewer = graph_of(reps[2:].isel(stimulus=slice(2, None)), 15)
    lost = reps["stimulus"].values[0]
    with pytest.raises(
        xc.SchemaError, match=rf"graph 0 has 24, graph 1 has 22.*'{lost}'.*of one pool.*pair\("
    ):
        xc.io.merge_neighbors(one, fewer)
    with pytest.raises(xc.SchemaError, match=r"same name as graph 0: 'net1'.*drop_sel"):
        xc.io.merge_neighbors(one, graph_of(reps[1:], 15))
    with pytest.raises(xc.SchemaError, match="modality 'vision', graph 1 'language'"):
        xc.io.merge_neighbors(one, other.assign_attrs(modality="language"))
    with pytest.raises(xc.SchemaError, match="metric 'cosine', graph 1 'euclidean'"):
        xc.io.merge_neighbors(one, other.assign_attrs(metric="euclidean"))
    with pytest.raises(xc.SchemaError, match="graph 1 lacks the coordinate 'family'"):
        xc.io.merge_neighbors(one, other.drop_vars("family"))
    with pytest.raises(xc.SchemaError, match=r"'caption' of graph 1 contradicts.*drop_vars"):
        xc.io.merge_neighbors(one, other.assign_coords(caption=("stimulus", ["?"] * N)))
    with pytest.raises(xc.SchemaError, match="choose one of each further dim"):
        xc.io.merge_neighbors(one, other.expand_dims(layer=["top"]))
    with pytest.raises(xc.SchemaError, match="what xconverge.neighbor_graph"):
        xc.io.merge_neighbors(one, reps)
    with pytest.raises(TypeError, match="at least one graph"):
        xc.io.merge_neighbors()
    renamed = other.assign_coords(stimulus=[f"x{i}" for i in range(N)])
    with pytest.raises(xc.SchemaError, match="other labels than it has now: its pool_hash"):
        xc.io.merge_neighbors(renamed)
    del renamed.attrs["pool_hash"]
    assert xc.io.merge_neighbors(renamed).attrs["pool_hash"] != one.attrs["pool_hash"]


def test_further_dims_are_matched_by_label() -> None:
    reps = make_reps(4, N, 5, extra={"layer": 2}, shared=False)
    reps = reps.assign_coords(layer=["low", "high"], depth=("layer", [1, 2]))
    one, other = graph_of(reps[:, :2], 15), graph_of(reps[::-1, 2:], 15)
    merged = xc.io.merge_neighbors(one, other)
    xr.testing.assert_identical(
        xc.dispersion(merged, "neighborhood", k=K), xc.dispersion(reps, "neighborhood", k=K)
    )
    with pytest.raises(xc.SchemaError, match="'depth' of graph 1 contradicts"):
        xc.io.merge_neighbors(one, other.assign_coords(depth=("layer", [3, 4])))
    top, low = one.isel(layer=0), other.isel(layer=0)
    with pytest.raises(xc.SchemaError, match="'depth' of graph 1 contradicts|'layer' of graph 1"):
        xc.io.merge_neighbors(top, low)


def test_what_is_written_says_what_the_lists_hold(tmp_path: Path) -> None:
    path, graph = tmp_path / "g.zarr", graph_of(models(missing=0.0), 9)
    with pytest.raises(xc.SchemaError, match="modality"):
        xc.io.write_neighbors(path, graph.assign_attrs(modality=None))
    assert not path.exists()
    xc.io.write_neighbors(path, graph.isel(neighbor=slice(3)))
    assert xc.io.open_neighbors(path, "vision").attrs["k"] == 3
    # nothing says how many stimuli there were: no position may be cut to two bytes
    cut = graph.drop_attrs().assign_attrs(modality="cut").isel(stimulus=slice(5))
    xc.io.write_neighbors(path, cut.where(cut != 11, 40_000))
    assert (xc.io.open_neighbors(path, "cut") == 40_000).any()


def test_what_only_one_graph_knows_is_kept() -> None:
    reps = models(missing=0.0)
    one, other = graph_of(reps[:2], 15), graph_of(reps[2:], 15)
    other = other.drop_vars(["caption", "n_features"]).assign_coords(recall=("model", [0.9, 0.8]))
    merged = xc.io.merge_neighbors(one, other)
    assert merged["caption"].values.tolist() == one["caption"].values.tolist()
    assert merged["recall"].values.tolist() == [1, 1, 0.9, 0.8]
    assert merged.attrs["search"] == "approximate"
    assert "n_features" not in merged.coords


def test_the_hash_is_of_a_set_of_labels() -> None:
    told = json.dumps(sorted(["b", "é", "a\nb"]), separators=(",", ":")).encode("ascii")
    assert pool_hash(["é", "a\nb", "b"]) == f"sha256:{hashlib.sha256(told).hexdigest()}"
    # neither do labels run into each other, nor do other sets share a hash
    sets = [["a", "b"], ["ab"], ["a,b"], ["a\0b"], ['a","b'], ["a"], []]
    assert len({pool_hash(one) for one in sets}) == len(sets)


def test_stimuli_under_other_names_are_another_pool() -> None:
    reps = models(missing=0.0).assign_coords(image=("stimulus", [f"i{i}" for i in range(N)]))
    images = reps.assign_coords(stimulus=reps["image"].values).drop_vars("image")
    graph, _ = xc.pair(graph_of(reps[:2], 9), images, on="image")
    assert graph.attrs["pool_hash"] == pool_hash(images["stimulus"].values)
    merged = xc.io.merge_neighbors(graph.drop_vars("stimulus_id"), graph_of(images[2:], 9))
    np.testing.assert_array_equal(
        xc.dispersion(merged, "neighborhood", k=K), xc.dispersion(reps, "neighborhood", k=K)
    )


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(("n", "kind"), [(60, np.int16), (2**15 + 1, np.int32)])
def test_a_graph_alone_is_a_store_for_plain_xarray(tmp_path: Path, n: int, kind: Any) -> None:
    path = tmp_path / "graphs.zarr"
    rng = np.random.default_rng(0)
    graph = xr.DataArray(
        rng.integers(n, size=(2, n, 3)).astype(float),
        dims=("model", "stimulus", "neighbor"),
        coords={
            "model": ["a", "b"],
            "stimulus": [f"s{i}" for i in range(n)],
            "position": ("stimulus", np.arange(n)),
        },
        name="neighbor_graph",
        attrs={"modality": "vision", "metric": "cosine", "k": 3, "n_stimuli": n},
    )
    graph[1, 7] = np.nan
    xc.io.write_neighbors(path, graph)
    xc.validate_store(path, deep=True)
    opened = xc.io.open_neighbors(path, "vision")
    assert opened.chunks is not None
    plain = xr.open_zarr(path / "neighbor_graphs" / "vision")["neighbor_graph"]
    stored = xr.open_zarr(path / "neighbor_graphs" / "vision", mask_and_scale=False)
    assert stored["neighbor_graph"].dtype == kind
    for found in (opened, plain):
        np.testing.assert_array_equal(found, graph)
        assert found.attrs["pool_hash"] == pool_hash(graph["stimulus"].values)
        assert found.attrs["n_stimuli"] == n
    xr.testing.assert_equal(xc.io.merge_neighbors(plain), xc.io.merge_neighbors(graph))


def test_a_graph_under_another_name_is_no_set_of_features() -> None:
    reps = models(missing=0.0)
    lost = graph_of(reps, 9).rename("positions")
    np.testing.assert_array_equal(xc.alignment(lost, reps, k=K), xc.alignment(reps, reps, k=K))
    for call in (
        lambda: xc.alignment(lost, reps, "cka"),
        lambda: xc.dispersion(lost, "cosine"),
        lambda: xc.center(lost),
    ):
        with pytest.raises(xc.SchemaError, match="is a neighbour graph"):
            call()
    assert Pair(lost, reps).a.name == "neighbor_graph"


CALLS = {
    "dispersion": lambda a, b: xc.dispersion(a, "neighborhood", k=K),
    "of pairs": lambda a, b: xc.dispersion(a, "neighborhood", k=K, pairwise=True),
    "left out": lambda a, b: xc.dispersion(a, "neighborhood", k=K, leave_out="model"),
    "bins": lambda a, b: xc.dispersion_bins(xc.dispersion(a, "neighborhood", k=K), 3),
    **{
        metric: lambda a, b, metric=metric: xc.alignment(a, b, metric, k=K)
        for metric in ("mutual_knn", "cycle_knn", "lcs_knn", "edit_distance_knn")
    },
    **{
        f"calibrate {metric}": lambda a, b, metric=metric: xc.calibrate(
            a, b, metric, k=K, n_permutations=19, rng=0
        )
        for metric in ("mutual_knn", "cycle_knn", "lcs_knn", "edit_distance_knn")
    },
    "modulation": lambda a, b: xc.modulation(
        xc.dispersion(a, "neighborhood", k=K),
        xc.alignment(a, b, k=K),
        null="labels",
        n_permutations=19,
        rng=0,
    ),
    "modulation by groups": lambda a, b: xc.modulation(
        xc.dispersion(a, "neighborhood", k=K),
        xc.alignment(a, b, k=K),
        groups="category",
        n_permutations=0,
        rng=0,
    ),
    "reliability": lambda a, b: xc.reliability(a, "neighborhood", k=K, n_splits=3, rng=0),
    "halves of stimuli": lambda a, b: xc.alignment_reliability(a, b, k=K, n_splits=3, rng=0),
    "interval": lambda a, b: xc.confidence_interval(a, b, k=K, rng=0),
}


@pytest.mark.slow_after(1)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_graph_gives_the_digits_of_the_features(call: Any) -> None:
    a, b = models(), make_reps(3, N, 5, seed=0, missing=0.1, noise=1.0, shared=False)
    b = b.assign_coords(model=["x", "y", "z"]).assign_attrs(modality="language")
    xr.testing.assert_identical(call(graph_of(a), graph_of(b)), call(a, b))


def test_modulation_without_features_asks_for_what_it_lacks() -> None:
    a, b = models(missing=0.0), make_reps(2, N, 5, seed=1, shared=False)
    graphs = graph_of(a, 9), graph_of(b, 9)
    maps = xc.dispersion(graphs[0], "neighborhood", k=K), xc.alignment(*graphs, k=K)
    with pytest.raises(
        xc.SchemaError, match=r"geometry 0 is a neighbour graph.*RDMs.*null='labels'"
    ):
        xc.modulation(*maps, geometry=graphs)
    options: dict[str, Any] = {"k": K, "nuisance": (), "n_permutations": 9, "rng": 0}
    with pytest.raises(xc.SchemaError, match=r"a and b: a neighbour graph is no geometry"):
        xc.leave_out_modulation(*graphs, **options)
    with pytest.raises(xc.SchemaError, match=r"b: a neighbour graph is no geometry"):
        xc.leave_out_modulation(a, graphs[1], **options)
    with pytest.raises(xc.SchemaError, match=r"nuisance 'local_density'.*local_density\(reps\)"):
        xc.leave_out_modulation(*graphs, null="labels", k=K)
    with pytest.raises(xc.SchemaError, match="n_equal_noise= takes models apart"):
        xc.leave_out_modulation(*graphs, null="labels", n_equal_noise=9, **options)


def test_modulation_of_graphs_with_the_geometry_of_others() -> None:
    a, b = models(missing=0.0), make_reps(2, N, 5, seed=1, shared=False)
    graphs = graph_of(a, 9), graph_of(b, 9)
    density = xc.local_density(a, K)
    options: dict[str, Any] = {"k": K, "nuisance": [density], "n_permutations": 9, "rng": 0}
    expected = xc.leave_out_modulation(a, b, **options)
    found = xc.leave_out_modulation(*graphs, geometry=(a, b), **options)
    xr.testing.assert_identical(found, expected)
    assert found.attrs["null"] == "mixed"


@pytest.mark.slow
def test_an_atlas_of_the_shipped_models_has_their_digits(tmp_path: Path) -> None:
    with shipped() as folder:
        sides = [
            xc.open_representations(folder / "demo.zarr", name).load()
            for name in ("vision", "language")
        ]
    for side in sides:
        # each model in a store of its own, its stimuli in an order of its own
        for i, model in enumerate(side["model"].values):
            graph = xc.neighbor_graph(shuffled(side.sel(model=[model]), i), 15)
            xc.io.write_neighbors(tmp_path / f"{model}.zarr".replace("/", "_"), graph)
    graphs = [
        xc.io.merge_neighbors(
            *(
                xc.io.open_neighbors(tmp_path / f"{m}.zarr".replace("/", "_"), side.modality)
                for m in side["model"].values
            )
        ).sel(stimulus=side["stimulus"].values)
        for side in sides
    ]
    assert [one.sizes["model"] for one in graphs] == [10, 6]
    for graph, side in zip(graphs, sides, strict=True):
        xr.testing.assert_identical(
            xc.dispersion(graph, "neighborhood").compute(), xc.dispersion(side, "neighborhood")
        )
    xr.testing.assert_identical(xc.alignment(*graphs).compute(), xc.alignment(*sides))
    xr.testing.assert_identical(
        xc.calibrate(*graphs, n_permutations=19, rng=0),
        xc.calibrate(*sides, n_permutations=19, rng=0),
    )
