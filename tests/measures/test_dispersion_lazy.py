"""Dispersion in chunks, on a cluster, and of groups of models."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xconverge as xc
from tests.helpers import chunked, make_reps, no_compute, read_only
from tests.measures.spread import (
    BASIS_FREE,
    EVERY,
    GAPS,
    PAIRED,
    TOLERANCE,
    options,
    with_rows,
)
from xconverge import SchemaError, dispersion
from xconverge.kernels import compiled
from xconverge.kernels.budgets import BUDGETS

# --- lazily ----------------------------------------------------------------------------------


@pytest.mark.slow_after(2)
@pytest.mark.parametrize("pairwise", [False, True])
@pytest.mark.parametrize("metric", EVERY)
def test_nothing_is_computed_before_it_is_asked_for(metric, pairwise):
    if pairwise and metric == "consensus":
        pytest.skip("has no pairs")
    reps = make_reps(widths=[6, 6, 6, 6], missing=GAPS)
    lazy = reps.chunk(model=1, stimulus=5)
    assert lazy.n_features.chunks is not None
    assert lazy.category.chunks is not None
    with no_compute():
        result = dispersion(lazy, metric, pairwise=pairwise, **options(metric))
    assert result.chunks is not None
    expected = dispersion(reps, metric, pairwise=pairwise, **options(metric))
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-14)


def test_normalize_is_lazy(raising_scheduler):
    assert dispersion(make_reps().chunk(), "euclidean", normalize=True).chunks is not None


@pytest.mark.parametrize("metric", BASIS_FREE)
def test_differing_widths_are_lazy(metric):
    reps = make_reps(widths=[6, 9, 4, 7])
    with no_compute():
        result = dispersion(reps.chunk(model=2, feature=3), metric, **options(metric))
    np.testing.assert_allclose(result, dispersion(reps, metric, **options(metric)), atol=1e-12)


@pytest.mark.slow
@given(st.data())
@settings(max_examples=16)
def test_any_chunking_gives_the_same(data):
    metric = data.draw(st.sampled_from(EVERY))
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    gaps = data.draw(st.sampled_from([[], GAPS]))
    reps = make_reps(5, 9, 6, missing=gaps, dtype=dtype, extra=data.draw(
        st.sampled_from([{}, {"layer": 2}])
    ))  # fmt: skip
    lazy = data.draw(chunked(reps))
    # blocks of models are held together, or merged as states
    with patch.object(BUDGETS, "all_models", data.draw(st.sampled_from([0, 2**28]))):
        result = dispersion(lazy, metric, **options(metric))
    expected = dispersion(reps, metric, **options(metric))
    assert result.dims == expected.dims
    np.testing.assert_allclose(result, expected, rtol=TOLERANCE[dtype], atol=1e-14)
    np.testing.assert_array_equal(result.n_models, expected.n_models)


@pytest.mark.slow
@given(st.data())
@settings(max_examples=8)
def test_any_chunking_gives_the_same_pairs(data):
    metric = data.draw(st.sampled_from([*PAIRED, *BASIS_FREE]))
    reps = make_reps(4, 8, 6, missing=GAPS)
    result = dispersion(data.draw(chunked(reps)), metric, pairwise=True, **options(metric))
    expected = dispersion(reps, metric, pairwise=True, **options(metric))
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("held", [0, 2**28])
@pytest.mark.parametrize("metric", ["cosine", "sqeuclidean", "consensus"])
def test_many_chunks_of_models_merge_in_a_tree_or_at_once(metric, held, monkeypatch):
    monkeypatch.setattr(BUDGETS, "all_models", held)
    reps = make_reps(40, 6, 5, missing=0.3)
    result = dispersion(reps.chunk(model=1), metric)
    np.testing.assert_allclose(result, dispersion(reps, metric), rtol=1e-12)


@pytest.mark.slow_after(4)
@pytest.mark.parametrize("pairwise", [False, True])
@pytest.mark.parametrize("metric", EVERY)
def test_inputs_are_not_modified(metric, pairwise):
    if pairwise and metric == "consensus":
        pytest.skip("has no pairs")
    reps = read_only(make_reps(missing=GAPS))
    before, attrs, coords = reps.values.copy(), dict(reps.attrs), list(reps.coords)
    dispersion(reps, metric, pairwise=pairwise, **options(metric))
    dispersion(reps.chunk(model=2), metric, pairwise=pairwise, **options(metric)).compute()
    np.testing.assert_array_equal(reps.values, before)
    assert reps.attrs == attrs
    assert list(reps.coords) == coords
    assert reps.name == "representation"


@pytest.mark.parametrize("held", [0, 2**28])
def test_faults_are_named_when_computed(held, monkeypatch):
    monkeypatch.setattr(BUDGETS, "all_models", held)
    reps = with_rows(make_reps(), {(2, 4): np.inf}).chunk(model=1, stimulus=3)
    result = dispersion(reps)
    label = reps.stimulus.values[4]
    with pytest.raises(SchemaError, match=f"model 'net2', stimulus '{label}'"):
        result.compute()


@pytest.mark.slow
def test_processes_of_a_cluster_give_the_same(client):
    lazy = make_reps(missing=GAPS).chunk(model=1, stimulus=5)
    for metric in EVERY:
        result = dispersion(lazy, metric, **options(metric)).compute()
        local = dispersion(lazy, metric, **options(metric)).compute(scheduler="synchronous")
        # the sums of a matrix product depend on where its operands happen to lie in memory
        np.testing.assert_allclose(result, local, rtol=1e-13)
    with pytest.raises(SchemaError, match="net0"):
        dispersion(with_rows(make_reps(), {(0, 2): np.inf}).chunk(model=1)).compute()


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["cosine", "euclidean", "neighborhood", "rdm"])
def test_threads_of_a_cluster_give_the_same(metric):
    distributed = pytest.importorskip("distributed")
    reps = make_reps(missing=GAPS)
    lazy = reps.chunk(model=1, stimulus=5)
    local = dispersion(lazy, metric, **options(metric)).compute()
    with (
        distributed.LocalCluster(
            processes=False, n_workers=1, threads_per_worker=2, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster),
    ):
        result = dispersion(lazy, metric, **options(metric)).compute()
    np.testing.assert_array_equal(result, local)


# groups, and what is left when one is left out


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("metric", EVERY)
@pytest.mark.parametrize("out", ["model", "family"])
def test_leaving_out_is_the_dispersion_of_the_others(metric, out):
    reps = make_reps(5, 14, 5, missing=[(0, 3), (2, 3), (4, 3), (1, 6)])
    found = xc.dispersion(reps, metric, leave_out=out, k=3)
    assert found.dims == ("model", "stimulus")
    assert found.attrs["leave_out"] == out
    for model in reps["model"].values:
        group = reps[out].sel(model=model).item()
        others = xc.dispersion(reps.isel(model=reps[out].values != group), metric, k=3)
        np.testing.assert_allclose(found.sel(model=model), others, rtol=1e-9)
        np.testing.assert_array_equal(found["n_models"].sel(model=model), others["n_models"])


@pytest.mark.slow_after(2)
@pytest.mark.parametrize("metric", EVERY)
def test_by_group_is_the_dispersion_of_each(metric):
    reps = make_reps(5, 14, 5, missing=[(0, 3), (2, 3)])
    found = xc.dispersion(reps, metric, by="family", k=3)
    assert found.dims == ("family", "stimulus")
    for family in ("family0", "family1"):
        alone = xc.dispersion(reps.isel(model=reps["family"].values == family), metric, k=3)
        np.testing.assert_allclose(found.sel(family=family), alone)
        np.testing.assert_array_equal(found["n_models"].sel(family=family), alone["n_models"])


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"leave_out": "family"}, {"by": "family"}])
@given(data=st.data())
def test_groups_stay_lazy(options, data):
    reps = make_reps(4, 10, 5, missing=[(0, 3)])
    expected = xc.dispersion(reps, "consensus", **options)
    with no_compute():
        lazy = xc.dispersion(data.draw(chunked(reps)), "consensus", **options)
    np.testing.assert_allclose(lazy.compute(), expected, rtol=1e-9)


def test_groups_that_do_not_go_are_refused():
    reps = make_reps(3, 10, 5)
    for given_options, message in (
        ({"by": "family", "pairwise": True}, "exclude each other"),
        ({"leave_out": "model", "normalize": True}, "does not go with leave_out"),
        ({"leave_out": "genus"}, "'genus' must be a coordinate"),
        ({"by": "family"}, "at least 2 models in each; 'family1' has 1"),
    ):
        with pytest.raises(ValueError, match=message):
            xc.dispersion(reps, **given_options)
    alike = reps.assign_coords(family=("model", ["f"] * 3))
    with pytest.raises(xc.SchemaError, match="leaves no model"):
        xc.dispersion(alike, leave_out="family")


@pytest.mark.parametrize(
    "made",
    [
        lambda reps: reps,
        lambda reps: reps.chunk(model=1),
        lambda reps: reps.chunk(stimulus=5),
        lambda reps: reps.chunk(model=2, stimulus=7),
        lambda reps: reps.transpose("feature", "stimulus", "model"),
    ],
    ids=["in memory", "a model", "some stimuli", "both", "another order"],
)
def test_compiled_loops_work_however_a_set_is_cut(made, monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setattr(compiled, "WORTH", 0)
    loop, calls = compiled.loops(1).sums_of_rows, []
    plain = loop.run
    monkeypatch.setattr(loop, "run", lambda *given: (calls.append(1), plain(*given))[1])
    reps = make_reps(4, 12, 6, dtype="float32").assign_attrs(space="shared")
    expected = dispersion(reps.astype(float))
    calls.clear()
    np.testing.assert_allclose(dispersion(made(reps)).compute(), expected, rtol=1e-6)
    assert calls
