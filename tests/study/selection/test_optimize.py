"""Sets on which models agree, against plain loops, brute force and planted truth."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import xconverge as xc
from tests.helpers import chunked, make_reps, read_only, shuffled
from tests.oracles import set_agreement
from xconverge.cli.demo import shipped
from xconverge.engine import resources as _resources
from xconverge.kernels.budgets import BUDGETS

ALONE = {"n_restarts": 0, "n_perturbations": 0}


def plain_search(rdms, start, sign):
    """Each member in turn gives way to the best candidate, until none helps."""
    members, value = list(start), sign * set_agreement(rdms, start)
    tried = position = 0
    while tried < len(members):
        best, candidate = value, None
        for new in range(rdms.shape[1]):
            if new not in members:
                other = [*members[:position], new, *members[position + 1 :]]
                score = sign * set_agreement(rdms, other)
                if score > best:
                    best, candidate = score, new
        if candidate is not None and best > value + 1e-9:
            members[position], value, tried = candidate, best, 0
        tried += 1
        position = (position + 1) % len(members)
    return members, sign * value


def distances(reps, metric="correlation"):
    return xc.rdm(reps, metric).values.astype(np.float64)


def natural(reps):
    """The set with its stimuli in natural order, as the search sees them."""
    return reps.sortby(reps["stimulus"].str.slice(1).astype(int))


@pytest.mark.slow
@pytest.mark.parametrize("agreement", ["high", "low"])
def test_a_local_search_is_that_of_plain_loops(agreement):
    sign = 1 if agreement == "high" else -1
    for seed in range(4):
        reps = natural(make_reps(3, 18, 5, seed, noise=1.0))
        start = np.random.default_rng(seed).permutation(18)[:6]
        expected, value = plain_search(distances(reps), start, sign)
        labels = reps["stimulus"].values
        found = xc.optimize_stimuli(reps, 6, agreement, start=labels[start], rng=0, **ALONE)
        assert set(found["stimulus"].values) == set(labels[expected])
        assert float(found["agreement"]) == pytest.approx(value)
        assert float(found["agreement_of_start"]) == pytest.approx(
            set_agreement(distances(reps), start)
        )


@pytest.mark.slow
@pytest.mark.parametrize("agreement", ["high", "low"])
def test_more_searches_are_never_worse_than_one_from_the_same_start(agreement):
    sign = 1 if agreement == "high" else -1
    gains = []
    for seed in range(20):
        reps = make_reps(4, 40, 6, seed, noise=1.0)
        start = reps["stimulus"].values[np.random.default_rng(seed).permutation(40)[:8]]
        call = {"start": start, "rng": seed}
        once = xc.optimize_stimuli(reps, 8, agreement, **call, **ALONE)
        best = xc.optimize_stimuli(reps, 8, agreement, **call)
        gains.append(sign * float(best["agreement"] - once["agreement"]))
    assert min(gains) > -1e-12
    assert np.mean(np.array(gains) > 1e-9) > 0.4


@pytest.mark.slow
@pytest.mark.parametrize("agreement", ["high", "low"])
def test_the_best_of_all_sets_is_found(agreement):
    sign = 1 if agreement == "high" else -1
    hits = 0
    for seed in range(10):
        reps = make_reps(3, 12, 4, seed, noise=1.0)
        rdms = distances(reps)
        best = max(sign * set_agreement(rdms, list(s)) for s in combinations(range(12), 5))
        found = sign * float(xc.optimize_stimuli(reps, 5, agreement, rng=seed)["agreement"])
        assert found <= best + 1e-9
        hits += found > best - 1e-9
    assert hits >= 9


def planted(seed, n_models=4, n_stimuli=80, n_alike=15):
    """All models see some stimuli alike, turned and scaled, the others each in its own way."""
    rng = np.random.default_rng(seed)
    latent = rng.standard_normal((n_stimuli, 6))
    alike = rng.permutation(n_stimuli)[:n_alike]
    models = {}
    for m in range(n_models):
        own = rng.standard_normal((n_stimuli, 6))
        own[alike] = latent[alike]
        basis, _ = np.linalg.qr(rng.standard_normal((10 + m, 6)))
        models[f"net{m}"] = (m + 1) * own @ basis.T
    names = [f"s{i}" for i in range(n_stimuli)]
    return xc.stack_models(models, stimuli=names), {names[i] for i in alike}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_a_planted_set_is_found(seed):
    reps, alike = planted(seed)
    found = xc.optimize_stimuli(reps, 15, rdm_metric="euclidean", rng=seed)
    assert set(found["stimulus"].values) == alike
    assert float(found["agreement"]) == pytest.approx(1)
    assert float(found["agreement_of_random"]) < 0.3
    assert (found["contribution"] > -1e-9).all()
    less = xc.optimize_stimuli(reps, 15, "low", rdm_metric="euclidean", rng=seed)
    assert len(alike & set(less["stimulus"].values)) <= 2
    assert float(less["agreement"]) < float(less["agreement_of_random"])


@pytest.mark.slow
@given(data=st.data(), seed=st.integers(0, 100))
def test_order_and_chunks_change_nothing(data, seed):
    reps = make_reps(3, 24, [5, 6, 4], 3, noise=1.0, missing=[(0, 2), (1, 9)])
    call = {"n_restarts": 1, "n_perturbations": 1, "groups": "category", "rng": 1}
    expected = xc.optimize_stimuli(reps, 6, **call)
    other = data.draw(chunked(shuffled(reps, seed)))
    xr.testing.assert_allclose(xc.optimize_stimuli(other, 6, **call), expected)
    assert expected.attrs["n_not_seen_by_all"] == 2
    assert expected.attrs["n_eligible"] == 22


def test_rdms_may_be_given_and_inputs_stay():
    reps = read_only(make_reps(3, 20, 6, noise=1.0, missing=[(1, 4)]))
    expected = xc.optimize_stimuli(reps, 6, "low", rng=0)
    rdms = read_only(xc.rdm(reps))
    found = xc.optimize_stimuli(shuffled(rdms, 2), 6, "low", rng=0)
    xr.testing.assert_allclose(found.drop_vars("n_exchanges"), expected.drop_vars("n_exchanges"))
    labels = list(expected["stimulus"].values)
    plain = rdms.sel(stimulus=labels, stimulus_2=labels).values
    value = set_agreement(plain, np.arange(6))
    assert float(expected["agreement"]) == pytest.approx(value)
    without = [set_agreement(plain, np.delete(np.arange(6), i)) for i in range(6)]
    np.testing.assert_allclose(expected["contribution"], value - np.array(without))
    assert (np.diff(expected["contribution"]) >= 0).all()
    assert expected["caption"].dims == ("stimulus",)
    assert "one of 6 of 19 with an agreement of" in expected["reason"].values[0]
    with pytest.raises(ValueError, match="symmetric"):
        xc.optimize_stimuli(rdms.where(rdms["model"] != "net0", rdms.cumsum("stimulus")), 6)
    with pytest.raises(xc.SchemaError, match="the RDM of 'net2' has NaN"):
        xc.optimize_stimuli(rdms.where(lambda r: ~((r.model == "net2") & (r > 1.3))), 6)


def test_constraints_hold_at_the_start_and_after_the_search():
    reps = make_reps(4, 60, 6, noise=1.0)
    size = xr.DataArray(
        np.arange(60.0), dims="stimulus", coords={"stimulus": reps["stimulus"]}, name="size"
    )
    away = xc.rdm(reps, "euclidean").mean("model")
    least = float(np.quantile(away, 0.3))
    quotas = {"cat0": 6, "cat2": 3}
    call = {"groups": "category", "match": [size], "match_bins": 3, "rng": 0}
    found = xc.optimize_stimuli(
        reps, 9, quotas=quotas, distances=shuffled(away), min_distance=least, **call
    )
    assert Counter(found["category"].values) == quotas
    bins = xc.dispersion_bins(size, 3).sel(stimulus=found["stimulus"])
    for name, count in quotas.items():
        mine = bins[(found["category"] == name).values]
        assert np.bincount(mine, minlength=3).max() <= count // 3 + 1
    inside = away.sel(stimulus=found["stimulus"].values, stimulus_2=found["stimulus"].values)
    assert inside.values[np.triu_indices(9, 1)].min() >= least
    assert "category 'cat" in found["reason"].values[0]
    assert found.attrs["quotas"] == quotas
    free = xc.optimize_stimuli(reps, 9, rng=0)
    assert free["agreement"] > found["agreement"] > found["agreement_of_random"]
    start = {"start": free["stimulus"].values, "groups": "category", "quotas": 3}
    with pytest.raises(ValueError, match="start must be a set within the constraints"):
        xc.optimize_stimuli(reps, 9, **start)
    with pytest.raises(xc.SchemaError, match=r"of n=9 stimuli were found.*lower min_distance"):
        xc.optimize_stimuli(reps, 9, distances=away, min_distance=100.0)


@pytest.mark.slow
def test_models_left_out():
    reps = make_reps(5, 40, 6, noise=1.0)
    found = xc.optimize_stimuli(reps, 8, leave_out="model", rng=3)
    rdms = distances(reps)
    labels = list(reps["stimulus"].values)
    held = []
    for m in range(5):
        others = [i for i in range(5) if i != m]
        own = xc.optimize_stimuli(reps.isel(model=others), 8, rng=3)["stimulus"].values
        where = [labels.index(one) for one in own]
        pairs = [set_agreement(rdms[[m, i]], where) for i in others]
        assert float(found["agreement_heldout"][m]) == pytest.approx(np.mean(pairs))
        held.append(np.isin(found["stimulus"], own))
    np.testing.assert_allclose(found["stability"], np.mean(held, 0))
    np.testing.assert_allclose(found["overlap_without"], np.mean(held, 1))
    by_family = xc.optimize_stimuli(reps, 8, leave_out="family", rng=3)
    assert by_family["overlap_without"].dims == ("family",)
    assert by_family["agreement_heldout"]["family"].values.tolist() == ["family0", "family1"]


def test_what_cannot_be_is_said():
    reps = make_reps(3, 20, 6)
    with pytest.raises(ValueError, match="n must be .* 3 at least .*RDMs.*got n=2"):
        xc.optimize_stimuli(reps, 2)
    with pytest.raises(xc.SchemaError, match="2 at least, got 'net0'"):
        xc.optimize_stimuli(reps[:1], 5)
    with pytest.raises(xc.SchemaError, match="fewer are without 'family0'"):
        xc.optimize_stimuli(reps, 5, leave_out="family")
    with pytest.raises(xc.SchemaError, match="n=30 stimuli are wanted, and 20 of 20"):
        xc.optimize_stimuli(reps, 30)
    with pytest.raises(xc.SchemaError, match=r"got \['layer'\] too"):
        xc.optimize_stimuli(reps.expand_dims(layer=2), 5)
    with pytest.raises(ValueError, match="agreement='most' is not known"):
        xc.optimize_stimuli(reps, 5, "most")
    with pytest.raises(xc.SchemaError, match="start holds stimuli.*'nobody'"):
        xc.optimize_stimuli(reps, 3, start=["nobody", "s1", "s2"])
    with pytest.raises(ValueError, match="start must hold as many different stimuli, it has 2"):
        xc.optimize_stimuli(reps, 3, start=["s1", "s1", "s2"])
    whole = xc.optimize_stimuli(reps, 20, rng=0)
    assert set(whole["stimulus"].values) == set(reps["stimulus"].values)
    assert float(whole["agreement"]) == pytest.approx(float(whole["agreement_of_random"]))
    with pytest.warns(RuntimeWarning, match="contributions are NaN"):
        three = xc.optimize_stimuli(reps, 3, rng=0)
    assert three["contribution"].isnull().all()
    assert np.isfinite(three["agreement"])


def test_a_model_without_differences():
    reps = make_reps(3, 12, 12)
    reps[2] = np.eye(12)
    with pytest.warns(RuntimeWarning, match="all distances of 'net2' are equal"):
        found = xc.optimize_stimuli(reps, 5, rdm_metric="euclidean", rng=0)
    assert np.isnan(found["agreement"])
    assert np.isnan(found["agreement_of_random"])
    reps[2, :4] = np.eye(12)[:4] * [[1], [2], [3], [4]]
    start = reps["stimulus"].values[5:10]
    found = xc.optimize_stimuli(reps, 5, rdm_metric="euclidean", start=start, rng=0)
    assert np.isnan(found["agreement_of_start"])
    assert np.isfinite(found["agreement"])


def test_memory_is_asked_for_before(monkeypatch):
    rdms = xc.rdm(make_reps(4, 300, 6))
    monkeypatch.setattr(BUDGETS, "small_task", 0)
    monkeypatch.setattr(_resources, "free_bytes", lambda: 2**20)
    with pytest.raises(MemoryError, match="Rows of 3 models × 20 stimuli needs.*fewer stimuli"):
        xc.optimize_stimuli(make_reps(3, 20, 6), 5)
    with pytest.raises(MemoryError, match="RDMs of 4 models"):
        xc.optimize_stimuli(rdms, 5)


def test_few_profiles_are_kept_and_nothing_changes(monkeypatch):
    reps = make_reps(3, 60, 6, noise=1.0)
    expected = xc.optimize_stimuli(reps, 8, rng=0)
    monkeypatch.setattr(BUDGETS, "search_cache", 0)
    xr.testing.assert_allclose(xc.optimize_stimuli(reps, 8, rng=0), expected)


@pytest.mark.slow
@pytest.mark.parametrize("agreement", ["high", "low"])
def test_on_emoji_models_that_were_not_asked_agree_too(agreement):
    """Half of six networks choose 100 stimuli; the other half is compared inside them."""
    sign = 1 if agreement == "high" else -1
    with shipped() as folder:
        vision = xc.open_representations(folder / "demo.zarr", "vision").load()
    vision = vision.sel(model=vision["family"] == "neural")
    rdms, labels = xc.rdm(vision).values, vision.indexes["stimulus"]
    rng = np.random.default_rng(1)
    random = [rng.permutation(1380)[:100] for _ in range(100)]
    beyond, better = [], []
    for used in list(combinations(range(6), 3))[::4]:
        half = vision.isel(model=list(used))
        chosen = xc.optimize_stimuli(half, 100, agreement, rng=0)
        by_rank = xc.select_stimuli(
            xc.dispersion(half, "rdm"), 100, "low" if agreement == "high" else "high"
        )
        for models in (used, tuple(set(range(6)) - set(used))):
            ours, simple = (
                sign * set_agreement(rdms[list(models)], labels.get_indexer(one["stimulus"]))
                for one in (chosen, by_rank)
            )
            null = [sign * set_agreement(rdms[list(models)], one) for one in random]
            beyond.append(ours > np.quantile(null, 0.95))
            better.append(ours > simple)
    beyond, better = (np.reshape(one, (-1, 2)).mean(0) for one in (beyond, better))
    assert beyond[0] == better[0] == 1
    # of five halves at most one may fail
    assert beyond[1] >= 0.8
    assert better[1] >= 0.6
