"""Reliability and ceilings of trials: with labels, and as honest as their repetitions allow."""

import warnings

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.benchmarks import bench_ceilings
from tests.helpers import no_compute

N, P = 20, 12
LABELS = [f"s{i}" for i in range(N)]
NAMES = ["half_correlation", "reliability", "lower", "upper"]


def trials_of(repetitions=4, subjects=("S1", "S2"), seed=0, noise=1.0):
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((N, 3)) @ rng.standard_normal((3, P))
    x = truth + noise * rng.standard_normal((len(subjects), repetitions, N, P))
    return xr.DataArray(
        x,
        dims=("subject", "repetition", "stimulus", "feature"),
        coords={
            "subject": list(subjects),
            "repetition": [f"r{i}" for i in range(repetitions)],
            "stimulus": LABELS,
            "voxel": ("feature", [f"v{i}" for i in range(P)]),
        },
        attrs={"modality": "brain"},
    )


def two_bins():
    by = xr.DataArray(np.arange(float(N)), dims="stimulus", coords={"stimulus": LABELS})
    return xc.dispersion_bins(by, 2)


DIMS = {
    ("rdm", False): ("subject",),
    ("rdm", True): ("subject", "bin"),
    ("stimulus", False): ("subject", "stimulus"),
    ("stimulus", True): ("subject", "bin"),
    ("feature", False): ("subject", "feature"),
    ("feature", True): ("subject", "bin", "feature"),
}


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(("of", "binned"), DIMS)
def test_each_subject_is_as_alone_and_any_order_and_chunks_give_the_same(of, binned):
    trials = trials_of(7)
    bins = two_bins() if binned else None
    options = {"n_splits": 6, "rng": 0}  # of 35
    table = xc.trial_reliability(trials, of, bins=bins, **options)
    assert list(table) == NAMES
    for name in NAMES:
        assert table[name].dims == DIMS[of, binned]
        assert table[name].attrs["kind"] == "similarity"
        assert table[name].attrs["of"] == of
    assert table.attrs["seed"] == 0
    assert table.attrs["modality"] == "brain"
    if of == "feature":
        assert table["voxel"].values.tolist() == trials["voxel"].values.tolist()
    assert (table["lower"] < table["reliability"]).all()
    assert (table["reliability"] < table["upper"]).all()
    rng = np.random.default_rng(1)
    mixed = trials.isel(stimulus=rng.permutation(N), repetition=rng.permutation(7), subject=[1, 0])
    turned = mixed.transpose("feature", "stimulus", "subject", "repetition")
    again = xc.trial_reliability(turned, of, bins=bins, **options).sel(subject=["S1", "S2"])
    if "stimulus" in again.dims:
        again = again.sel(stimulus=LABELS)
    for name in NAMES:
        np.testing.assert_allclose(again[name], table[name], rtol=1e-9)
    alone = xc.trial_reliability(trials.sel(subject="S2"), of, bins=bins, **options)
    for name in NAMES:
        np.testing.assert_allclose(alone[name], table[name].sel(subject="S2"), rtol=1e-12)
    with no_compute():
        lazy = xc.trial_reliability(
            trials.chunk(subject=1, stimulus=7, repetition=2), of, bins=bins, **options
        )
    assert lazy["lower"].chunks
    xr.testing.assert_allclose(lazy.compute(), table, rtol=1e-12)


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("repetitions", [2, 3, 4, 6])
def test_a_ceiling_is_the_root_of_the_reliability_and_that_of_bins(repetitions):
    trials = trials_of(repetitions, noise=1.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        share = xc.trial_reliability(trials, rng=0)
        found = xc.trial_ceiling(trials, rng=0)
        binned = xc.trial_ceiling(trials, bins=two_bins(), rng=0)
    assert list(found) == ["ceiling", "lower", "upper"]
    for name, of in (("ceiling", "reliability"), ("lower", "lower"), ("upper", "upper")):
        root = np.sign(share[of]) * np.sqrt(abs(share[of]))
        np.testing.assert_allclose(found[name], root, rtol=1e-12)
        assert found[name].attrs["long_name"] != share[of].attrs["long_name"]
    if repetitions > 3:
        reps = xc.stack_models(
            {"net": trials.mean(("subject", "repetition")).values}, stimuli=LABELS
        )
        by = xr.DataArray(np.arange(float(N)), dims="stimulus", coords={"stimulus": LABELS})
        table = xc.binned_rsa(
            reps, trials, by, 2, rdm_metric="sqeuclidean", method="pearson", n_permutations=0, rng=0
        )
        there = ~np.isnan(table["ceiling"].transpose("subject", "bin"))
        assert there.any()
        np.testing.assert_allclose(
            binned["ceiling"].values[there.values],
            table["ceiling"].transpose("subject", "bin").values[there.values],
            rtol=1e-9,
        )


def test_sessions_are_units():
    trials = trials_of(8)
    session = [f"d{i // 2}" for i in range(8)]
    trials = trials.assign_coords(session=("repetition", session))
    summed = trials.groupby("session").mean().rename(session="repetition")
    for of in ("rdm", "stimulus", "feature"):
        found = xc.trial_reliability(trials, of, unit="session", rng=0)
        right = xc.trial_reliability(summed, of, rng=0)
        assert found.attrs["unit"] == "session"
        for name in NAMES:
            np.testing.assert_allclose(
                found[name].values, right[name].transpose(*found[name].dims).values, rtol=1e-8
            )


def test_too_few_say_how_many_are_needed():
    for of in ("rdm", "stimulus", "feature"):
        with pytest.warns(RuntimeWarning, match=r"\(subject 'S1'\) needs at least 2 .* there is 1"):
            found = xc.trial_reliability(trials_of(1, ("S1",)), of)
        assert all(np.isnan(found[name]).all() for name in NAMES)
    with pytest.warns(RuntimeWarning, match="4 are needed; half_correlation is NaN, and noise is"):
        found = xc.trial_reliability(trials_of(3, ("S1",)))
    assert np.isnan(found["half_correlation"]).all()
    assert 0.5 < found["reliability"].item() <= 1
    with pytest.warns(RuntimeWarning, match="fewer than 4 stimuli"):
        found = xc.trial_ceiling(trials_of(4, ("S1",)).isel(stimulus=slice(3)))
    assert np.isnan(found["ceiling"]).all()
    # a subject that lacks sessions has those that it has
    trials = trials_of(4)
    trials[1, 1:] = np.nan
    with pytest.warns(RuntimeWarning, match="'S2'.*there is 1"):
        found = xc.trial_reliability(trials, "feature")
    assert np.isfinite(found["reliability"][0]).all()
    assert np.isnan(found["reliability"][1]).all()


def test_missing_trials_and_narrow_models():
    trials = trials_of(5)
    trials[0, 0, 3] = np.nan
    trials[1, :, 4] = np.nan
    trials[0, 1:, 5] = np.nan
    with pytest.warns(RuntimeWarning, match="1 of 20 stimuli"):
        found = xc.trial_reliability(trials, "stimulus")["reliability"]
    gone = np.argwhere(np.isnan(found.values)).tolist()
    assert gone == [[0, 5], [1, 4]]
    wide = trials_of(5)
    wide[1, ..., 9:] = np.nan
    wide = wide.assign_coords(n_features=("subject", [P, 9]))
    for of in ("rdm", "stimulus", "feature"):
        found = xc.trial_reliability(wide, of)
        right = xc.trial_reliability(wide[1, ..., :9].drop_vars("n_features"), of)
        some = {"feature": slice(9)} if of == "feature" else {}
        for name in NAMES:
            one = found[name].sel(subject="S2")
            np.testing.assert_allclose(one.isel(some), right[name], rtol=1e-9)
            if of == "feature":
                assert np.isnan(one[9:]).all()


def test_bins_are_joined_by_label():
    trials = trials_of(4)
    bins = two_bins()
    found = xc.trial_ceiling(trials, bins=bins)
    again = xc.trial_ceiling(trials, bins=bins[::-1])
    np.testing.assert_array_equal(found["ceiling"], again["ceiling"])
    with pytest.raises(xc.SchemaError, match="bins"):
        xc.trial_ceiling(trials, bins=bins[:10])
    with pytest.raises(xc.SchemaError, match="bins must be whole numbers"):
        xc.trial_ceiling(trials, bins=bins.astype(float))
    with pytest.raises(xc.SchemaError, match="no stimulus"):
        xc.trial_ceiling(trials, bins=0 * bins - 1)


def test_a_bin_without_a_value_is_named_however_many_bins_there_are():
    trials = trials_of(4, ("S1",))
    trials[:, :, 0] = np.nan
    numbers = two_bins().copy(data=np.arange(N))
    for bins in (numbers, numbers.clip(max=N - 2)):
        with pytest.warns(RuntimeWarning, match="in bin '0': it has fewer"):
            found = xc.trial_reliability(trials, "stimulus", bins=bins, n_splits=2)
        assert np.isnan(found["reliability"].isel(bin=0)).all()


def test_errors_say_what_was_needed():
    trials = trials_of(4)
    with pytest.raises(TypeError, match="noise goes with of='rdm'"):
        xc.trial_reliability(trials, "stimulus", noise="diagonal")
    with pytest.raises(xc.SchemaError, match="unit='session' must be a coordinate"):
        xc.trial_reliability(trials, unit="session")
    with pytest.raises(xc.SchemaError, match="needs the dim 'repetition'"):
        xc.trial_ceiling(trials.isel(repetition=0, drop=True))
    lacking = trials.assign_coords(session=("repetition", ["a", "b", "", "d"]))
    with pytest.raises(xc.SchemaError, match="unit='session' has no value for trials"):
        xc.trial_reliability(lacking, "feature", unit="session")


@pytest.mark.parametrize("noise", ["diagonal", "shrinkage"])
def test_whitened_rdms_have_a_ceiling_too(noise):
    for repetitions in (2, 4):
        trials = trials_of(repetitions, ("S1",))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = xc.trial_ceiling(trials, noise=noise, rng=0)
        assert (found["lower"] <= found["ceiling"]).all()
        assert (found["ceiling"] > 0.6).all()
        assert found.attrs["noise"] == noise


@pytest.mark.slow
def test_noise_alone_is_not_reliable():
    trials = trials_of(5, tuple(f"S{i}" for i in range(30)))
    values = np.random.default_rng(0).standard_normal(trials.shape)
    trials = trials.copy(data=values)
    for of in ("rdm", "stimulus", "feature"):
        found = xc.trial_reliability(trials, of, n_splits=10, rng=0)
        assert abs(float(found["half_correlation"].mean())) < 0.04
        held = (found["lower"] <= 0) & (found["upper"] >= 0)
        assert float(held.mean()) > 0.9


def test_a_row_of_the_benchmark_runs():
    row = bench_ceilings.row(bench_ceilings.of_trials, 2, 0, "little noise", 2)
    assert row["runs"] == "2"
    row = bench_ceilings.row(bench_ceilings.of_repetitions, 2, 0, "little noise", 2, 3)
    assert float(row["inside"]) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("noise", bench_ceilings.NOISES)
@pytest.mark.parametrize("repetitions", [2, 3, 4, 8])
def test_the_truth_lies_between_the_ends(noise, repetitions):
    row = bench_ceilings.row(bench_ceilings.of_trials, 120, 1, noise, repetitions)
    assert float(row["inside"]) >= 0.9  # of 120


@pytest.mark.slow
@pytest.mark.parametrize("subjects", bench_ceilings.SUBJECTS)
@pytest.mark.parametrize("repetitions", [2, 8])
@pytest.mark.parametrize("noise", bench_ceilings.NOISES)
def test_the_truth_lies_between_the_ceilings_of_subjects(noise, repetitions, subjects):
    calls = [bench_ceilings.of_subjects]
    if "grows" not in noise:  # which lifts plain distances alike in all repetitions
        calls.append(bench_ceilings.of_repetitions)
    for call in calls:
        row = bench_ceilings.row(call, 60, 1, noise, repetitions, subjects)
        assert float(row["inside"]) >= 0.9
