"""RSA of trials by dispersion bin: with labels, and as honest as its repetitions allow."""

import tracemalloc

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import no_compute
from xconverge.study.analysis import rsa_by_dispersion

N, P = 60, 30
LABELS = [f"s{i}" for i in range(N)]
OPTIONS = {"rdm_metric": "sqeuclidean", "method": "pearson", "rng": 0}


def sides(repetitions=4, noise=(0.5, 1.0, 1.5), seed=0, subjects=("S1", "S2")):
    """A model that is the brain itself and one that is not, trials, and what bins the stimuli."""
    rng = np.random.default_rng(seed)
    brain = rng.standard_normal((N, 5)) @ rng.standard_normal((5, P)) / np.sqrt(5)
    bins = np.arange(N) * 3 // N
    size = np.array(noise)[bins][:, None]
    measured = brain + size * rng.standard_normal((len(subjects), repetitions, N, P))
    trials = xr.DataArray(
        measured,
        dims=("subject", "repetition", "stimulus", "feature"),
        coords={"subject": list(subjects), "stimulus": LABELS},
        name="brain",
    )
    by = xr.DataArray(np.arange(float(N)), dims="stimulus", coords={"stimulus": LABELS})
    other = brain + rng.standard_normal(brain.shape)
    reps = xc.stack_models({"itself": brain, "other": other}, stimuli=LABELS)
    return reps, trials, by


def test_a_model_that_is_the_brain_has_one_in_every_bin():
    reps, trials, by = sides()
    table = xc.binned_rsa(reps, trials, by, average=None, n_permutations=0, **OPTIONS)
    own = table.sel(model_a="itself")
    assert (own["rsa"].isel(bin=0) > own["rsa"].isel(bin=2) + 0.03).all()
    assert (abs(own["rsa_corrected"] - 1) < 0.08).all()
    assert (own["rsa_corrected_lower"] <= 1).all()
    assert (own["rsa_corrected_upper"] >= 1).all()
    # what a true model would reach is what this one reaches
    assert (abs(own["rsa"] - table["ceiling"]) < 0.05).all()
    assert (table["rsa_corrected"].sel(model_a="other") < 0.9).all()
    assert table["split_half"].dims == ("bin", "subject")
    assert table["rsa_corrected"].dims == table["rsa"].dims
    assert table.attrs["target_rdm_metric"] == "crossnobis"


@pytest.mark.slow
def test_each_subject_is_as_alone_and_any_order_gives_the_same():
    reps, trials, by = sides()
    table = xc.binned_rsa(reps, trials, by, average=None, n_permutations=9, **OPTIONS)
    rng = np.random.default_rng(0)
    mixed = trials.isel(stimulus=rng.permutation(N), subject=[1, 0])
    again = xc.binned_rsa(
        reps.isel(model=[1, 0], stimulus=rng.permutation(N)), mixed, by, average=None,
        n_permutations=9, **OPTIONS,
    )  # fmt: skip
    again = again.sel(model_a=table["model_a"], subject=table["subject"])
    xr.testing.assert_allclose(table.drop_attrs(), again.drop_attrs(), rtol=1e-8)
    one = xc.binned_rsa(
        reps, trials.sel(subject="S2"), by, average=None, n_permutations=9, **OPTIONS
    )
    for name in ("rsa", "rsa_corrected", "rsa_corrected_lower", "split_half", "ceiling"):
        expected = table[name].sel(subject="S2")
        np.testing.assert_allclose(one[name].values, expected.values, rtol=1e-8)


@pytest.mark.slow
def test_lazy_trials_stay_lazy():
    reps, trials, by = sides()
    expected = xc.binned_rsa(reps, trials, by, n_permutations=9, **OPTIONS)
    with no_compute():
        lazy = xc.binned_rsa(
            reps, trials.chunk(subject=1, stimulus=20), by, n_permutations=9, **OPTIONS
        )
    assert lazy["rsa_corrected"].chunks
    xr.testing.assert_allclose(lazy.compute(), expected, rtol=1e-8)


@pytest.mark.slow
def test_too_few_repetitions_say_how_many_are_needed():
    reps, trials, by = sides(2)
    with pytest.warns(RuntimeWarning, match="needs 4 independent repetitions.* there are 2"):
        table = xc.binned_rsa(reps, trials, by, n_permutations=0, **OPTIONS)
    assert np.isnan(table["rsa_corrected"]).all()
    assert np.isnan(table["split_half"]).all()
    assert np.isfinite(table["rsa"]).all()
    reps, trials, by = sides(8)
    trials = trials.assign_coords(session=("repetition", list("aabbccdd")[:8]))
    table = xc.binned_rsa(reps, trials, by, n_permutations=0, unit="session", **OPTIONS)
    assert np.isfinite(table["rsa_corrected"]).all()
    two = trials.assign_coords(session=("repetition", list("aaaabbbb")))
    with pytest.warns(RuntimeWarning, match="there are 2 \\(by 'session'\\)"):
        xc.binned_rsa(reps, two, by, n_permutations=0, unit="session", **OPTIONS)


def test_rdms_of_repetitions_tell_nothing_of_noise():
    """As of the 92 images, of which there are RDMs of two sessions."""
    reps, trials, by = sides(2)
    with pytest.warns(RuntimeWarning, match="4 independent repetitions; .* RDMs of 2 repetitions"):
        table = xc.binned_rsa(reps, xc.rdm(trials), by, n_permutations=0, **OPTIONS)
    assert np.isnan(table["rsa_corrected"]).all()
    assert table["rsa_corrected"].dims == ("bin", "subject")
    assert table["rsa"].dims == ("bin", "subject", "repetition")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_noise_hides_is_nan_and_says_so():
    reps, trials, by = sides(noise=(0.5, 6.0, 12.0))
    with pytest.warns(RuntimeWarning, match=r"'S1'\) in bin 2: .* it must be 0.1 and an error"):
        table = xc.binned_rsa(reps, trials, by, n_permutations=0, **OPTIONS)
    assert np.isfinite(table["rsa_corrected"].isel(bin=0)).all()
    assert np.isnan(table["rsa_corrected"].isel(bin=2)).all()
    assert np.isnan(table["ceiling"].isel(bin=2)).all()
    assert np.isfinite(table["split_half"]).all()
    contrast = xc.binned_rsa_contrast(reps, trials, by, **OPTIONS)
    assert np.isnan(contrast["trend_corrected"]).all()


def test_ranks_have_no_correction():
    reps, trials, by = sides()
    with pytest.warns(UserWarning, match="no correction for noise is known for method='spearman'"):
        table = xc.binned_rsa(reps, trials, by, n_permutations=0, rng=0)
    assert np.isfinite(table["split_half"]).all()
    # a true model has another RSA by each method: where it has .95 by pearson, .80 by kendall
    assert not {"rsa_corrected", "ceiling"} & set(table)
    how = {"n_permutations": 0, "n_draws": 9, "n_splits": 3, "rng": 0}
    table = xc.select_models(reps, trials, by, method="rho-a", **how)
    assert not {"rsa_corrected", "trial_ceiling"} & set(table)


@pytest.mark.slow
def test_the_contrast_of_corrected_bins_has_no_effect_where_noise_alone_grows():
    reps, trials, by = sides(6, noise=(0.4, 1.0, 1.8))
    plain = xc.binned_rsa(reps, trials, by, average=None, n_permutations=0, **OPTIONS)
    table = xc.binned_rsa_contrast(reps, trials, by, average=None, **OPTIONS)
    own = table.sel(model_a="itself")
    assert (own["low_minus_high"] > 0.05).all()
    assert (own["low_minus_high_corrected_p_value"] > 0.05).all()
    low, high = (plain["rsa_corrected"].isel(bin=i) for i in (0, 2))
    np.testing.assert_allclose(table["low_minus_high_corrected"], low - high)
    errors = plain["rsa_corrected_standard_error"].isel(bin=[0, 2])
    np.testing.assert_allclose(
        table["low_minus_high_corrected_standard_error"], np.sqrt((errors**2).sum("bin")), rtol=1e-8
    )
    # the p-value of the map is withheld
    assert not any(name.startswith("low_minus_high_p") for name in table)
    with pytest.raises(TypeError, match="withheld"):
        xc.binned_rsa_contrast(reps, trials, by, null="labels", **OPTIONS)


@pytest.mark.slow
def test_noise_and_unit_are_of_trials():
    reps, trials, by = sides()
    rdms = xc.rdm(trials.mean("repetition"))
    for name, value in (("noise", "diagonal"), ("unit", "session")):
        with pytest.raises(TypeError, match="noise and unit are of trials"):
            xc.binned_rsa(reps, rdms, by, **{name: value})
    table = xc.binned_rsa(reps, trials, by, n_permutations=0, noise="diagonal", **OPTIONS)
    assert table.attrs["noise"] == "diagonal"


def test_a_stimulus_with_few_repetitions_leaves_some_splits():
    reps, trials, by = sides()
    trials = trials.copy()
    trials[:, :2, 7] = np.nan
    table = xc.binned_rsa(reps, trials, by, average=None, n_permutations=0, **OPTIONS)
    assert (abs(table["rsa_corrected"].sel(model_a="itself") - 1) < 0.06).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*permutations are too few")
def test_models_are_selected_by_what_noise_does_not_hide():
    reps, trials, by = sides()
    table = xc.select_models(reps, trials, by, n_permutations=0, n_draws=99, n_splits=5, **OPTIONS)
    own = table.sel(model="itself")
    assert (abs(own["rsa_corrected"] - 1) < 0.08).all()
    np.testing.assert_allclose(table["rsa_corrected"], table["rsa"] / table["trial_ceiling"])
    # bins that all models share have the ceilings of binned_rsa
    binned = xc.binned_rsa(reps, trials, by, n_permutations=0, **OPTIONS)
    np.testing.assert_allclose(
        own["trial_ceiling"].isel(subset=slice(1, None)), binned["ceiling"].mean("subject")
    )
    rdms = xc.rdm(trials, "crossnobis")
    plain = xc.select_models(reps, rdms, by, n_permutations=0, n_draws=99, n_splits=5, **OPTIONS)
    np.testing.assert_allclose(plain["rsa"], table["rsa"])
    with pytest.warns(RuntimeWarning, match="needs 4 independent repetitions"):
        two = xc.select_models(
            reps, trials.isel(repetition=[0, 1]), by, n_permutations=0, n_draws=99, **OPTIONS
        )
    assert np.isnan(two["rsa_corrected"]).all()
    with pytest.raises(TypeError, match="noise and unit are of trials"):
        xc.select_models(reps, rdms, by, noise="diagonal")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_study_of_trials_tells_what_noise_hides():
    reps, trials, _ = sides()
    rng = np.random.default_rng(5)
    more = xc.stack_models(
        {f"m{i}": reps.values[0] + rng.standard_normal((N, P)) for i in range(3)}, stimuli=LABELS
    )
    study = xc.analyze(
        {"vision": more, "language": reps}, target=trials, n_permutations=0, n_equal_noise=0,
        k=5, n_bins=2, rng=0,
    )  # fmt: skip
    table = study["rsa"]
    assert {"rsa_corrected", "rsa_corrected_of_mean", "ceiling", "split_half"} <= set(table)
    assert table["rsa_corrected"].dims == table["rsa_by_bin"].dims
    higher = table["rsa_corrected"] > table["rsa_by_bin"] - 0.02
    assert higher.where(table["rsa_corrected"].notnull(), True).all()
    assert table.attrs["target_rdm_metric"] == "crossnobis"


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["diagonal", "shrinkage"])
def test_an_estimated_covariance_of_the_noise_lifts_no_ceiling(noise):
    """Halves with a covariance of their own have larger distances than the whole."""
    reps, trials, by = sides(noise=(1.5, 1.5, 1.5))
    table = xc.binned_rsa(reps, trials, by, average=None, noise=noise, n_permutations=0, **OPTIONS)
    own = table["rsa"].sel(model_a="itself")
    assert float((table["ceiling"] - own).mean()) < 0.02
    expected = xc.trial_ceiling(trials, noise=noise, bins=xc.dispersion_bins(by, 3), rng=0)
    there = table["ceiling"].notnull()
    right = expected["ceiling"].transpose(*there.dims).where(there)
    np.testing.assert_allclose(table["ceiling"].values, right.values, rtol=1e-9)
    lazy = xc.binned_rsa(
        reps, trials.chunk(subject=1), by, average=None, noise=noise, n_permutations=0, **OPTIONS
    )
    np.testing.assert_allclose(lazy["ceiling"].values, right.values, rtol=1e-9)


@pytest.mark.slow
def test_units_are_those_of_each_subject_whatever_others_call_theirs():
    reps, trials, by = sides(8)
    days = np.array([list("aabbccdd"), list("ssttuuvv")])
    rng = np.random.default_rng(0)
    for names in (days, rng.permuted(days, axis=1)):
        named = trials.assign_coords(session=(("subject", "repetition"), names))
        both = xc.binned_rsa(reps, named, by, n_permutations=0, unit="session", **OPTIONS)
        one = xc.binned_rsa(
            reps, named.sel(subject="S2"), by, n_permutations=0, unit="session", **OPTIONS
        )
        for name in ("rsa_corrected", "split_half", "ceiling"):
            np.testing.assert_allclose(both[name].sel(subject="S2"), one[name], rtol=1e-8)


@pytest.mark.slow
def test_splits_of_sessions_follow_their_labels():
    """With more splits than are made, those that are made know no order of stimuli or trials."""
    reps, trials, by = sides(8)
    rng = np.random.default_rng(0)
    days = rng.permuted(np.tile(np.array(list("abcdefgh")), (N, 1)), axis=1)
    named = trials.assign_coords(session=(("stimulus", "repetition"), days))
    how = {"n_permutations": 0, "unit": "session", "n_splits": 3, **OPTIONS}
    expected = xc.binned_rsa(reps, named, by, **how)
    mixed = named.isel(stimulus=rng.permutation(N), repetition=rng.permutation(8))
    xr.testing.assert_allclose(xc.binned_rsa(reps, mixed, by, **how), expected, rtol=1e-8)


def test_no_session_is_no_session_more():
    """Zarr has an empty text where a trial that was not measured has no session."""
    reps, trials, by = sides(4)
    trials = trials.copy()
    trials[:, 3] = np.nan
    trials = trials.assign_coords(session=("repetition", ["a", "b", "c", ""]))
    with pytest.warns(RuntimeWarning, match="there are 3 \\(by 'session'\\)"):
        xc.binned_rsa(reps, trials, by, n_permutations=0, unit="session", **OPTIONS)


@pytest.mark.slow
def test_what_is_told_of_a_stimulus_is_told_once_of_lazy_trials_too():
    reps, trials, by = sides(6, subjects=("S1",))
    trials = trials.copy()
    trials[:, 1:, 4] = np.nan
    for target in (trials, trials.chunk(stimulus=20)):
        with pytest.warns(RuntimeWarning) as told:
            xc.binned_rsa(reps, target, by, n_permutations=0, **OPTIONS)["ceiling"].compute()
        assert sum("'s4' has one repetition alone" in str(one.message) for one in told) == 1


@pytest.mark.slow
def test_too_few_stimuli_in_both_halves_say_how_many_are_needed():
    reps, trials, by = sides(6, subjects=("S1",))
    trials = trials.copy()
    trials[:, 3:, :17] = np.nan
    with pytest.warns(
        RuntimeWarning,
        match=r"\(subject 'S1'\) in bin 0 needs at least 4 stimuli with 2 .* of 20 .* at most 3",
    ):
        table = xc.binned_rsa(reps, trials, by, n_permutations=0, **OPTIONS)
    assert np.isnan(table["rsa_corrected"].isel(bin=0)).all()
    assert np.isfinite(table["rsa_corrected"].isel(bin=1)).all()


def test_no_repetitions_at_all_are_too_few():
    reps, trials, by = sides()
    with (
        pytest.warns(RuntimeWarning, match="there are 0"),
        pytest.warns(RuntimeWarning, match="a correlation needs at least 3 pairs"),
    ):
        table = xc.binned_rsa(reps, trials[:, :0], by, n_permutations=0, **OPTIONS)
    assert np.isnan(table["rsa"]).all()


def test_errors_call_arguments_by_their_names():
    reps, trials, by = sides()
    with pytest.raises(ValueError, match="^unit='run' must be a coordinate of target"):
        xc.binned_rsa(reps, trials, by, unit="run", **OPTIONS)
    with pytest.raises(TypeError, match="^unit must be"):
        xc.binned_rsa(reps, trials, by, unit=3, **OPTIONS)
    wrong = trials.copy()
    wrong[0, 1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="^target.*subject 'S1'.*'s2'"):
        xc.binned_rsa(reps, wrong, by, **OPTIONS)


@pytest.mark.slow
def test_ceilings_are_of_the_subjects_that_scores_rest_on():
    reps, trials, by = sides()
    how = {"n_bins": 2, "n_permutations": 0, "n_draws": 9, "n_splits": 3, **OPTIONS}
    alone = xc.select_models(reps, trials.sel(subject=["S2"]), by, **how)
    lost = trials.where(trials["subject"] != "S1")
    with pytest.warns(RuntimeWarning, match="rests on the others without subject 'S1'"):
        table = xc.select_models(reps, lost, by, **how)
    for name in ("rsa", "trial_ceiling", "rsa_corrected"):
        np.testing.assert_allclose(table[name], alone[name], rtol=1e-8)


@pytest.mark.slow
def test_a_ceiling_that_noise_hides_is_told_of():
    reps, trials, by = sides(noise=(0.5, 0.5, 30.0), subjects=("S1",))
    how = {"n_bins": 3, "n_permutations": 0, "n_draws": 9, "n_splits": 3, **OPTIONS}
    with pytest.warns(RuntimeWarning, match="trial_ceiling in .*subset '3 of 3'"):
        table = xc.select_models(reps, trials.chunk(stimulus=20), by, noise="diagonal", **how)
    assert np.isnan(table["rsa_corrected"].sel(subset="3 of 3")).all()
    assert np.isfinite(table["rsa_corrected"].sel(subset="1 of 3")).all()
    assert table["trial_ceiling"].chunks is None
    wanted = {"noise": "diagonal", "unit": "repetition", "target_rdm_metric": "crossnobis"}
    assert wanted.items() <= table.attrs.items()


def test_features_that_are_silent_in_a_half_alone_are_said_to_be():
    """Spikes are few: all of a unit's may fall into one half, and its noise is known of that."""
    reps, trials, by = sides(subjects=("S1",))
    trials = trials.copy()
    trials[..., 4] = 2.0
    trials[0, 0, 5, 4] = 3.0
    assert np.isfinite(xc.rdm(trials, "crossnobis", noise="diagonal")).all()
    with pytest.raises(ValueError, match=r"^half of the repetitions of target, .*: features 4 ha"):
        xc.binned_rsa(reps, trials, by, noise="diagonal", **OPTIONS)


@pytest.mark.slow
def test_a_study_finds_the_model_that_is_the_brain():
    """Correlation distances of the model would have .54 to .94 of crossnobis ones."""
    reps, trials, _ = sides(subjects=("S1",))
    table = rsa_by_dispersion(reps, trials, k=5, n_permutations=0, rng=0)
    own = table.sel(model_a="itself")
    assert (abs(own["rsa_corrected"] - 1) < 0.08).all()
    assert (own["rsa"] > 0.9).all()
    assert table.attrs["rdm_metric"] == "sqeuclidean"


@pytest.mark.slow
def test_rdms_of_halves_are_held_inside_bins_alone():
    """Those of 40 halves over all stimuli would be 13 MB, and as many again to bind them."""
    n, rng = 200, np.random.default_rng(0)
    labels = [f"s{i}" for i in range(n)]
    x = rng.standard_normal((n, 10))
    trials = xr.DataArray(
        x + rng.standard_normal((8, n, 10)),
        dims=("repetition", "stimulus", "feature"),
        coords={"stimulus": labels},
    )
    by = xr.DataArray(np.arange(float(n)), dims="stimulus", coords={"stimulus": labels})
    reps = xc.stack_models({"itself": x}, stimuli=labels)
    tracemalloc.start()
    try:
        xc.binned_rsa(reps, trials, by, 5, n_permutations=0, **OPTIONS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10e6


@pytest.mark.slow
def test_bins_that_equal_values_merged_cost_no_degree_of_freedom():
    reps, trials, by = sides(subjects=("S1",))
    two = (by >= N // 2) * 1.0
    expected = xc.binned_rsa_contrast(reps, trials, two, 2, **OPTIONS)
    with pytest.warns(RuntimeWarning, match="merged"):
        merged = xc.binned_rsa_contrast(reps, trials, two, 6, **OPTIONS)
    for end in ("", "_lower", "_upper", "_p_value"):
        name = f"low_minus_high_corrected{end}"
        np.testing.assert_allclose(merged[name], expected[name], rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["diagonal", "shrinkage"])
def test_ceilings_of_a_ranking_have_one_covariance_of_the_noise_too(noise):
    reps, trials, by = sides(noise=(1.2, 1.2, 1.2))
    how = {"noise": noise, "n_permutations": 0, **OPTIONS}
    table = xc.select_models(reps, trials, by, n_draws=9, n_splits=20, **how)
    ceiling = table["trial_ceiling"].sel(model="itself")
    binned = xc.binned_rsa(reps, trials, by, n_splits=20, **how)["ceiling"].mean("subject")
    np.testing.assert_allclose(ceiling.isel(subset=slice(1, None)), binned, rtol=1e-9)
    whole = xc.trial_ceiling(trials, noise=noise, rng=0)["ceiling"].mean("subject")
    np.testing.assert_allclose(ceiling.sel(subset="all"), whole, rtol=1e-9)
