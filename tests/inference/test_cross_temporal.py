"""RDMs at every time against those at every other: plain loops, chunks, labels, level."""

import warnings

import numpy as np
import pytest
import scipy.stats
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps, no_compute
from tests.kernels.test_multiplicity import plain_planes
from xconverge.kernels.budgets import BUDGETS
from xconverge.kernels.permutations import run_of
from xconverge.labels.joins import natural_rank
from xconverge.testing import planted_recording

QUICK = {"n_permutations": 59, "rng": 0}


def film(times, seed=0, n=9, models=1, missing=0.0, **more):
    """RDMs (time, model, stimulus, stimulus_2) of smooth noise, at these times."""
    reps = make_reps(models, n, 5, seed, shared=False, missing=missing, extra={"time": len(times)})
    reps = reps.drop_vars(["family", "category", "caption"])
    return xc.rdm(reps.assign_coords(time=times), "euclidean", **more)


@pytest.fixture(scope="module")
def sides():
    a = film([0.0, 0.1, 0.2], models=2)
    b = film([0.1, 0.2, 0.3, 0.4], seed=3)
    return a, (b + 0.5 * a.isel(time=0, model=0, drop=True)).sel(stimulus=a["stimulus"].values)


def bare(scores):
    """Without the corrected p-values, which are coordinates."""
    return scores.drop_vars([name for name in scores.coords if "p_value" in name])


def spearman(one, other):
    upper = np.triu_indices(len(one), 1)
    return scipy.stats.spearmanr(one[upper], other[upper])[0]


@pytest.mark.slow
def test_scores_and_p_values_are_those_of_a_plain_loop(sides):
    a, b = sides
    table = xc.cross_temporal_rsa(a, b, **QUICK, alpha=0.1)
    assert table["rsa"].dims == ("model_a", "model_b", "time", "time_2")
    assert table["rsa"].attrs["kind"] == "similarity"
    assert table.attrs["n_permutations"] == 59
    np.testing.assert_array_equal(table["time_2"], b["time"])
    ids = a["stimulus"].values
    labels = natural_rank(a.indexes["stimulus"])
    orders = run_of(labels, int(np.random.default_rng(0).integers(2**63)), 59)
    other = b.sel(stimulus=ids, stimulus_2=ids).transpose("time", "model", ...).values[:, 0]
    one = a.sel(stimulus_2=ids).transpose("model", "time", ...).values
    draws = np.empty((60, 2, 1, 3, 4))
    for d, m, t, u in np.ndindex(60, 2, 3, 4):
        moved = other[u][np.ix_(orders[d], orders[d])]
        draws[d, m, 0, t, u] = spearman(one[m, t], moved)
    np.testing.assert_allclose(table["rsa"], draws[0], atol=1e-12)
    np.testing.assert_allclose(table["p_value"], (draws >= draws[0] - 1e-12).mean(0))
    expected = plain_planes(draws.reshape(60, 2, 3, 4), 0.1, "greater").reshape(2, 1, 3, 4)
    np.testing.assert_allclose(table["p_value_cluster"], expected)
    scaled = (draws - draws.mean(0)) / draws.std(0)
    most = scaled[1:].reshape(59, -1).max(1)
    np.testing.assert_allclose(
        table["p_value_max_t"], (1 + (most[:, None] >= scaled[0].ravel() - 1e-9).sum(0)).reshape(
            2, 1, 3, 4
        ) / 60,
    )  # fmt: skip


def test_it_is_rsa_of_renamed_times(sides):
    a, b = sides
    table = xc.cross_temporal_rsa(a, b, n_permutations=0)
    expected = xc.rsa(a, b.rename(time="time_2"))
    xr.testing.assert_allclose(table["rsa"], expected.transpose(*table["rsa"].dims))
    assert list(table.data_vars) == ["rsa"]
    renamed = xc.calibrate_rsa(a, b.rename(time="time_2"), **QUICK)
    full = xc.cross_temporal_rsa(a, b, **QUICK)
    for name in ("p_value", "p_value_max_t", "p_value_cluster", "threshold"):
        xr.testing.assert_allclose(full[name], renamed[name].transpose(*full[name].dims))


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("method", ["spearman", "cosine", "kendall"])
def test_few_rdms_at_a_time_give_the_same(sides, method, monkeypatch):
    a, b = (side.isel(time=slice(3)) for side in sides)
    few = {"n_permutations": 19, "rng": 0}
    whole = xc.cross_temporal_rsa(a, b, method, **few)
    alone = xc.cross_temporal_rsa(a, b, method, n_permutations=0)
    monkeypatch.setattr(BUDGETS, "many_models", 1)
    xr.testing.assert_allclose(xc.cross_temporal_rsa(a, b, method, **few), whole)
    xr.testing.assert_allclose(xc.cross_temporal_rsa(a, b, method, n_permutations=0), alone)


def test_each_pair_of_times_has_its_own_stimuli(sides, monkeypatch):
    a, b = (side.isel(time=slice(3)).copy() for side in sides)
    for number, gone in ((0, 2), (2, 5)):
        for one in ("stimulus", "stimulus_2"):
            a[{"time": number, one: gone}] = np.nan
    table = xc.cross_temporal_rsa(a, b, **QUICK)
    for t, u in ((0, 1), (1, 1), (2, 0)):
        kept = [i for i in range(9) if (t, i) not in ((0, 2), (2, 5))]
        where = {"stimulus": kept, "stimulus_2": kept}
        ids = a["stimulus"].values[kept]
        expected = xc.rsa(
            a.isel(time=t).isel(where), b.isel(time=u).sel(stimulus=ids, stimulus_2=ids)
        )
        np.testing.assert_allclose(table["rsa"][..., t, u], expected)
    monkeypatch.setattr(BUDGETS, "many_models", 1)
    xr.testing.assert_allclose(xc.cross_temporal_rsa(a, b, **QUICK), table)


@pytest.mark.slow
def test_lazy_is_lazy_and_orders_and_chunks_change_nothing(sides):
    a, b = sides
    full = xc.cross_temporal_rsa(a, b, **QUICK)
    mixed = b.isel(stimulus=slice(None, None, -1)).transpose("stimulus_2", "time", ...)
    lazy = a.chunk(time=1, model=1), mixed.chunk(time=3, stimulus=4)
    with no_compute():
        scores = xc.cross_temporal_rsa(*lazy, n_permutations=0)["rsa"]
    assert scores.chunks is not None
    xr.testing.assert_allclose(scores.compute(), bare(full["rsa"]))
    xr.testing.assert_allclose(xc.cross_temporal_rsa(*lazy, **QUICK), full)


@pytest.mark.slow
def test_other_dims_are_matched_by_label_and_kept():
    ids = [f"s{i}" for i in range(9)]
    one, other = (
        xr.concat(
            [film([0, 1], s, missing=0.15).sel(stimulus=ids, stimulus_2=ids) for s in seeds],
            "subject",
        ).assign_coords(subject=names)
        for seeds, names in (((1, 2), ["x", "y"]), ((4, 3), ["y", "x"]))
    )
    table = xc.cross_temporal_rsa(one, other, **QUICK)
    assert table["rsa"].dims == ("subject", "model_a", "model_b", "time", "time_2")
    for name in ("x", "y"):
        alone = xc.cross_temporal_rsa(one.sel(subject=name), other.sel(subject=name), **QUICK)
        xr.testing.assert_allclose(
            alone["p_value"].reset_coords(drop=True),
            table["p_value"].sel(subject=name).reset_coords(drop=True),
        )
        # a family is of all subjects
        more = table["p_value_max_t"].sel(subject=name)
        assert (more >= alone["p_value_max_t"].values - 1e-12).all()
    apart = xc.cross_temporal_rsa(one, other, over=["time", "time_2"], **QUICK)
    assert (apart["p_value_max_t"] <= table["p_value_max_t"] + 1e-12).all()


def test_rdms_with_themselves_warn_and_leave_out_the_diagonal():
    a = film([0.0, 0.1, 0.2], models=2)
    with pytest.warns(UserWarning, match="rdm_a is compared with itself.*halves") as told:
        table = xc.cross_temporal_rsa(a, **QUICK)
    assert told[0].filename == __file__
    assert not [one for one in told if "no p-value" in str(one.message)]
    for name in ("rsa", "p_value", "p_value_cluster", "p_value_max_t"):
        for m, k in np.ndindex(2, 2):
            there = np.isfinite(table[name].values[m, k])
            np.testing.assert_array_equal(there, ~np.eye(3, dtype=bool) if m == k else True)
    assert table.attrs["itself"] == 1
    with pytest.warns(UserWarning, match="with itself"):
        same = xc.cross_temporal_rsa(a, a, n_permutations=0)
    xr.testing.assert_allclose(same["rsa"], bare(table["rsa"]))


def test_without_models_there_are_none(sides):
    a, b = (side.isel(model=0, drop=True) for side in sides)
    assert xc.cross_temporal_rsa(a, b, n_permutations=0)["rsa"].dims == ("time", "time_2")
    table = xc.cross_temporal_rsa(a, b, **QUICK)
    assert table["p_value_cluster"].dims == ("time", "time_2")
    half = xc.cross_temporal_rsa(sides[0], b, **QUICK)
    assert half["rsa"].dims == ("model_a", "time", "time_2")
    xr.testing.assert_allclose(
        half["p_value"].isel(model_a=0).reset_coords(drop=True),
        table["p_value"].reset_coords(drop=True),
    )


def test_strata_hold_what_they_hold_in_calibrate_rsa(sides):
    a, b = sides
    groups = xr.DataArray([*"xxxxyyyyy"], dims="stimulus", coords={"stimulus": a["stimulus"]})
    found = xc.cross_temporal_rsa(a, b, strata=groups, **QUICK)
    renamed = xc.calibrate_rsa(a, b.rename(time="time_2"), strata=groups, **QUICK)
    xr.testing.assert_allclose(
        found["p_value"], renamed["p_value"].transpose(*found["p_value"].dims)
    )
    assert found.attrs["strata"] == "given"


def test_what_is_wrong_is_said(sides):
    a, b = sides
    with pytest.raises(xc.SchemaError, match=r"rdm_b needs the dims.*\['time'\] missing"):
        xc.cross_temporal_rsa(a, b.isel(time=0))
    with pytest.raises(xc.SchemaError, match="rdm_a has the dim 'time_2'"):
        xc.cross_temporal_rsa(a.expand_dims(time_2=2), b)
    with pytest.raises(xc.SchemaError, match=r"rdm_b has the same label on 'time' twice: '0\.3'"):
        xc.cross_temporal_rsa(a, b.isel(time=[0, 2, 2]))
    with pytest.raises(ValueError, match=r"'time_2' is not in\s+order"):
        xc.cross_temporal_rsa(a, b.isel(time=[1, 0, 2]))
    with pytest.raises(ValueError, match="over='tme' is not known.*did you mean 'time'"):
        xc.cross_temporal_rsa(a, b, over="tme")
    with pytest.raises(ValueError, match="n_permutations must be a whole number, 0 at least"):
        xc.cross_temporal_rsa(a, b, n_permutations=-1)
    with pytest.raises(xc.SchemaError, match="share no label on 'stimulus'|must have the same"):
        xc.cross_temporal_rsa(a, b.isel(stimulus=slice(5), stimulus_2=slice(5)))


def test_a_model_without_distances_is_named_once(sides):
    a, b = sides
    flat = a.copy(data=np.ones(a.shape) * (1 - np.eye(9))[..., :])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        table = xc.cross_temporal_rsa(flat, b, **QUICK)
    assert np.isnan(table["rsa"]).all()
    (message,) = (str(one.message) for one in told if "no p-value" in str(one.message))
    assert message.startswith("no p-value for 'net0 × net0', 'net1 × net0': fewer")


def halves(brain):
    """RDMs of the odd and of the even repetitions."""
    return [
        xc.rdm(brain.isel(repetition=slice(i, None, 2)).mean("repetition", keep_attrs=True))
        for i in (0, 1)
    ]


def test_planted_stages_are_blocks():
    study = planted_recording(n_stimuli=30, n_times=16, rng=0)
    table = xc.cross_temporal_rsa(*halves(study["brain"]), n_permutations=199, rng=0)
    seconds = table["time"].values
    stage = np.digitize(seconds, [0.05, 0.15])
    inside = (stage[:, None] == stage) & (stage > 0)
    found = (table["p_value_cluster"] <= 0.05).values
    assert found[inside].mean() == 1
    assert found[~inside].mean() < 0.06  # noise at the edge joins a cluster


def test_noise_that_lasts_is_found_in_rdms_with_themselves_alone():
    one, other = halves(planted_recording(1, 16, 50, noise=1e3, rng=1)["brain"])
    one, other = (side.isel(time=slice(12)) for side in (one, other))
    with pytest.warns(UserWarning, match="itself"):
        same = xc.cross_temporal_rsa(one, n_permutations=99, rng=0)
    near = np.abs(np.subtract.outer(*[np.arange(12)] * 2)) == 1
    assert (same["p_value_cluster"].values[near] <= 0.05).all()
    apart = xc.cross_temporal_rsa(one, other, n_permutations=99, rng=0)
    assert (apart["p_value_cluster"] > 0.05).all()


@pytest.mark.slow
def test_level_of_clusters_in_the_plane():
    """Any cluster among 8 x 8 bins of smooth noise, in about 5 of 100 recordings."""
    some = {"p_value_cluster": 0, "p_value_max_t": 0}
    for run in range(100):
        brain = planted_recording(1, 14, 8, 6, 2, rng=run, noise=1e3)["brain"]
        table = xc.cross_temporal_rsa(*halves(brain), n_permutations=99, rng=run)
        for name in some:
            some[name] += float(table[name].min()) <= 0.05
    assert all(1 <= count <= 11 for count in some.values())  # binomial: 5 ± 2.2
