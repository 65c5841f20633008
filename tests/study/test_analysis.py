"""The whole study in one call."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import spearmanr

import xconverge as xc
from xconverge.study.analysis import rsa_by_dispersion
from xconverge.testing import planted_study


@pytest.fixture(scope="module")
def sets():
    return planted_study(rng=0)


@pytest.fixture(scope="module")
def study(sets):
    brain = xc.rdm(sets["language"]).mean("model")
    return xc.analyze(sets, target=brain, n_permutations=99, rng=0, n_equal_noise=0)


@pytest.fixture(scope="module")
def few():
    """Sets that a study takes little time of."""
    return planted_study(n_models=4, n_stimuli=30, rng=0)


@pytest.fixture(scope="module")
def study_of_few(few):
    return xc.analyze(few, k=4, n_bins=2, n_permutations=99, rng=0, n_equal_noise=0)


@pytest.mark.slow
def test_the_planted_effect_is_found_by_every_measure(study):
    effect = study["modulation"].to_dataset()
    correlation = effect["correlation_of_mean"].sel(control="none")
    assert (correlation < -0.4).all()
    assert (effect["p_value_of_mean"].sel(control="none") < 0.01).all()


def norms_and_noise(n=120, n_latent=6, n_models=4):
    """Long rows have more noise, and less for their length: they align better, whatever it is.

    The relative noise, which differs by itself too, is what alignment falls with.
    """
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, n_latent))
    x /= np.linalg.norm(x, axis=1)[:, None]
    norm = np.exp(1.2 * rng.standard_normal(n))
    relative = 0.5 * norm**-0.5 * np.exp(0.3 * rng.standard_normal(n))

    def network(width):
        basis = np.linalg.qr(rng.standard_normal((width, n_latent)))[0]
        noise = relative[:, None] * rng.standard_normal((n, width)) / np.sqrt(width)
        return norm[:, None] * (x @ basis.T + noise)

    return {
        modality: xc.stack_models(
            {f"{modality} {i}": network(10 + i) for i in range(n_models)},
            stimuli=[f"s{i}" for i in range(n)],
        )
        for modality in ("vision", "language")
    }


@pytest.mark.slow
def test_norms_do_not_turn_the_sign_of_the_headline():
    sets = norms_and_noise()
    study = xc.analyze(sets, n_permutations=0, rng=0, n_equal_noise=0)
    found = study["modulation/correlation_of_mean"]
    assert found["control"].values.tolist() == ["none", "norm", "local_density", "both"]
    raw = found.sel(measure="consensus_raw")
    assert float(raw.sel(control="none")) > 0.4
    assert float(raw.sel(control="norm")) < -0.15
    assert float(raw.sel(control="both")) < -0.1
    for measure in ("consensus", "neighborhood", "rdm"):
        assert (found.sel(measure=measure, control=["none", "local_density"]) < -0.5).all()
        assert (found.sel(measure=measure) < -0.15).all()
    assert (study["leave_out/mean_correlation"] < -0.15).all()
    aligned = study["shared_space/aligned"]
    np.testing.assert_array_equal(
        study["dispersion/dispersion"].sel(measure="consensus"),
        xc.dispersion(aligned, "consensus", normalize=True),
    )
    norm = study["dispersion/stimulus_norm"]
    np.testing.assert_allclose(norm, np.linalg.norm(aligned.values, axis=2).mean(0))


@pytest.mark.slow
def test_what_is_given_is_what_modulation_partials_out(study, sets):
    vision, agreement = sets["vision"], study["alignment/mutual_knn"]
    spread = study["dispersion/dispersion"].sel(measure="rdm", drop=True)
    given = [study["dispersion/stimulus_norm"], study["dispersion/local_density"]]
    alone = xc.modulation(
        spread, agreement, covariates=given, n_permutations=99, rng=0,
        geometry=(vision, sets["language"]),
    )  # fmt: skip
    both = study["modulation"].to_dataset().sel(measure="rdm", control="both")
    np.testing.assert_array_equal(both["correlation"], alone["correlation"])
    np.testing.assert_allclose(both["p_value"], alone["p_value"], rtol=1e-6)
    for control, nuisance in {
        "none": (),
        "norm": ("norm",),
        "both": ("norm", "local_density"),
    }.items():
        alone = xc.leave_out_modulation(
            vision, sets["language"], nuisance=nuisance, n_permutations=99, rng=0
        )
        mine = study["leave_out"].to_dataset().sel(control=control)
        np.testing.assert_allclose(mine["correlation"], alone["correlation"])
        np.testing.assert_allclose(mine["p_value"], alone["p_value"], rtol=1e-6)


def test_dispersion_follows_the_planted_noise(study, sets):
    spread = study["dispersion/dispersion"]
    noise = sets["vision"]["noise"]
    for measure in spread["measure"].values:
        assert spearmanr(spread.sel(measure=measure), noise).statistic > 0.7


def test_rsa_falls_with_dispersion(study):
    by_bin = study["rsa/rsa_of_mean_by_bin"].values
    assert by_bin[0] > by_bin[-1] + 0.2


def test_a_study_is_the_measures_put_together(study, sets):
    xr.testing.assert_equal(
        study["alignment/mutual_knn"], xc.alignment(sets["vision"], sets["language"])
    )
    spread = xc.dispersion(sets["vision"], "neighborhood")
    found = study["dispersion/dispersion"].sel(measure="neighborhood")
    np.testing.assert_array_equal(found, spread)


@pytest.mark.slow
def test_a_study_is_saved_and_opened(study, tmp_path):
    xc.write_study(tmp_path / "study.zarr", study)
    again = xc.open_store(tmp_path / "study.zarr").load()
    assert set(again.groups) == set(study.groups)
    for node in study.subtree:
        xr.testing.assert_equal(again[node.path].to_dataset(), node.to_dataset())


@pytest.mark.slow
def test_a_plain_to_zarr_saves_a_study_without_a_warning(study, tmp_path):
    study.to_zarr(tmp_path / "study.zarr", zarr_format=3, consolidated=False)
    again = xr.open_datatree(tmp_path / "study.zarr", engine="zarr", consolidated=False)
    xr.testing.assert_equal(
        again["modulation"].to_dataset().load(), study["modulation"].to_dataset()
    )


@pytest.mark.slow
def test_a_store_gives_what_arrays_give(few, study_of_few, tmp_path):
    for modality, reps in few.items():
        xc.write_representations(tmp_path / "sets.zarr", reps, modality=modality)
    stored = xc.analyze(
        tmp_path / "sets.zarr", k=4, n_bins=2, n_permutations=99, rng=0, n_equal_noise=0
    )
    xr.testing.assert_allclose(
        stored["modulation"].to_dataset(), study_of_few["modulation"].to_dataset(), rtol=1e-6
    )


@pytest.mark.slow
def test_order_of_the_other_modality_changes_nothing(few, study_of_few):
    order = np.random.default_rng(1).permutation(few["language"].sizes["stimulus"])
    shuffled = {**few, "language": few["language"].isel(stimulus=order)}
    again = xc.analyze(shuffled, k=4, n_bins=2, n_permutations=99, rng=0, n_equal_noise=0)
    xr.testing.assert_allclose(
        again["modulation"].to_dataset(), study_of_few["modulation"].to_dataset(), rtol=1e-6
    )


@pytest.mark.slow
def test_modalities_are_named_or_refused(few):
    call = {"k": 4, "n_bins": 2, "n_permutations": 0, "n_equal_noise": 0}
    other = {"sight": few["vision"], "text": few["language"]}
    assert xc.analyze(other, **call).attrs["modality"] == "sight"
    turned = xc.analyze(few, modality="language", other="vision", **call)
    assert turned.attrs["modality"] == "language"
    with pytest.raises(xc.SchemaError, match="two modalities.*'vision'"):
        xc.analyze({"vision": few["vision"]})
    with pytest.raises(xc.SchemaError, match="'sound'"):
        xc.analyze(few, modality="sound")
    for named in ({"modality": "vision"}, {"other": "vision"}):
        with pytest.raises(xc.SchemaError, match="name two of them"):
            xc.analyze({**few, "sound": few["language"]}, **named, **call)


def test_groups_that_are_not_there_are_refused_before_anything_is_computed(few):
    steps = []
    with pytest.raises(xc.SchemaError, match="'kind'"):
        xc.analyze(few, groups="kind", progress=steps.append)
    assert steps == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* in common:RuntimeWarning")
@pytest.mark.parametrize("holes", [False, True])
def test_the_sentence_to_quote_is_that_of_leave_out_modulation(few, holes):
    """Also of models that missed a stimulus, and with coordinates of any name."""
    if holes:
        few = {side: reps.copy() for side, reps in few.items()}
        few["vision"][1, 3] = np.nan
        few["vision"] = few["vision"].assign_coords(model_a="one", excess=("stimulus", range(30)))
        few["language"] = few["language"].assign_coords(excess=("stimulus", range(30, 60)))
    call = {"k": 4, "n_bins": 2, "n_permutations": 99, "rng": 0, "n_equal_noise": 19}
    study, alone = xc.analyze(few, **call), xc.leave_out_modulation(*few.values(), **call)
    told = study["equal_noise"].to_dataset()
    assert study.attrs["conclusion"] == told.attrs["conclusion"] == alone.attrs["conclusion"]
    assert "caveat" not in told.attrs
    for name in ("mean_correlation", "expected_correlation", "equal_noise_p_value", "excess"):
        np.testing.assert_array_equal(told[name], alone[name])


@pytest.mark.slow
def test_stimuli_that_differ_are_refused_or_dropped(few):
    fewer = {**few, "language": few["language"].isel(stimulus=slice(25))}
    with pytest.raises(xc.SchemaError, match="vision has 30, language has 25"):
        xc.analyze(fewer)
    vision, language = xc.pair(*fewer.values(), join="inner")
    sides = {"vision": vision, "language": language}
    study = xc.analyze(sides, k=4, n_bins=2, n_permutations=0, n_equal_noise=0)
    assert study["dispersion"].sizes["stimulus"] == 25
    assert study.attrs["n_dropped"] == 5


def test_a_target_with_too_few_stimuli_is_refused(sets):
    brain = xc.rdm(sets["language"]).mean("model")[:8, :8]
    vision, brain = xc.pair(sets["vision"], brain, join="inner")
    with pytest.raises(xc.SchemaError, match="at least 9 stimuli.*there are 8"):
        rsa_by_dispersion(vision, brain, n_permutations=0)
    with pytest.raises(xc.SchemaError, match=r"reps has 120, target has 8.*xconverge\.pair"):
        xc.analyze(sets, target=brain, n_permutations=0, n_equal_noise=0)


def test_every_step_has_the_seed_of_the_study(sets, study):
    effect = study["modulation"].to_dataset().sel(measure="neighborhood", control="none")
    spread = xc.dispersion(sets["vision"], "neighborhood")
    agreement = xc.alignment(sets["vision"], sets["language"])
    assert study.attrs["seed"] == 0
    alone = xc.modulation(
        spread, agreement, n_permutations=99, rng=study.attrs["seed"],
        geometry=tuple(sets.values()),
    )  # fmt: skip
    np.testing.assert_allclose(effect["p_value"], alone["p_value"], rtol=1e-6)


@pytest.mark.slow
def test_progress_names_each_step(few):
    steps = []
    call = {"k": 4, "n_bins": 2, "n_permutations": 0, "n_equal_noise": 0}
    xc.analyze(few, progress=steps.append, **call)
    assert [step.split()[0] for step in steps] == [
        "shared",
        "dispersion",
        "alignment",
        "modulation",
        "modulation",
    ]
