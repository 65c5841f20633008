"""Dispersion against time: maps over stimuli whose alignment, or both of them, has times."""

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import no_compute
from tests.study.test_modulation import STIMULI, scores, spread
from xconverge.testing import planted_recording

SECONDS = [0.0, 0.1, 0.2]
SAME = ("correlation", "p_value", "mean_correlation", "mean_p_value", "moran_i", "n_stimuli")


def timed(make):
    return xr.concat([make(seed) for seed in range(3)], "time").assign_coords(time=SECONDS)


@pytest.mark.slow
@pytest.mark.parametrize("models", [None, ["x", "y"]])
@pytest.mark.parametrize("null", ["labels", "mixed"])
def test_dispersion_at_each_time_meets_alignment_at_that_time(models, null):
    x, y = timed(lambda seed: spread(seed + 9, models=models)), timed(scores)
    more = {"null": null, "n_permutations": 39, "n_bins": 2, "rng": 0}
    if null == "mixed":
        rows = np.random.default_rng(5).standard_normal((20, 4))
        more["geometry"] = xc.stack_models({"g": rows}, stimuli=STIMULI)
    backwards = x.isel(time=slice(None, None, -1)).transpose(..., "time")
    table = xc.modulation(backwards, y, **more)
    assert "mean_p_value_cluster" in table
    for number in range(3):
        alone = xc.modulation(x.isel(time=number), y.isel(time=number), **more)
        for name in SAME:
            np.testing.assert_allclose(table[name].isel(time=number), alone[name], atol=1e-12)
        np.testing.assert_allclose(
            table["dispersion_by_bin"].isel(time=number), alone["dispersion_by_bin"]
        )
    with no_compute():
        lazy = xc.modulation(backwards.chunk(time=1), y.chunk(time=2), **more)
    xr.testing.assert_allclose(lazy["mean_p_value_max_t"], table["mean_p_value_max_t"])


def test_times_are_matched_and_not_made_up():
    x, y = timed(lambda seed: spread(seed)), timed(scores)
    with pytest.raises(xc.SchemaError, match="alignment and dispersion must have the same labels "
                       "on 'time'.*0.05"):  # fmt: skip
        xc.modulation(x.assign_coords(time=[0.0, 0.05, 0.2]), y, null="labels")
    with pytest.raises(xc.SchemaError, match="dispersion must have the dim 'stimulus' alone"):
        xc.modulation(x, y.isel(time=0), null="labels")
    with pytest.raises(xc.SchemaError, match="no dim that alignment lacks"):
        xc.modulation(x.expand_dims(region=2), y, null="labels")


def course(study, stage="early", **more):
    """Alignment of single stimuli at every time against the dispersion of the models."""
    models = study[stage]
    brain = study["brain"].mean("repetition", keep_attrs=True).expand_dims(model=["brain"])
    agreement = xc.alignment(models, brain, "rdm")
    return xc.modulation(xc.dispersion(models, "rdm"), agreement, n_bins=2, rng=0, **more)


def test_what_is_too_few_is_said_to_who_asked():
    with pytest.warns(RuntimeWarning, match="p_value_by") as told:
        xc.modulation(spread(), timed(scores), null="labels", n_bins=2, n_permutations=39)
    assert told[0].filename == __file__


@pytest.mark.slow
def test_planted_dispersion_foretells_alignment_while_the_stage_lasts():
    study = planted_recording(n_stimuli=40, n_times=16, rng=0)
    table = course(study, null="labels", n_permutations=199)
    seconds = table["time"].values
    inside = (seconds >= 0.05) & (seconds < 0.15)
    assert (table["mean_p_value_cluster"].values[inside] <= 0.05).all()
    assert (table["mean_p_value_cluster"].values[~inside] > 0.05).mean() >= 0.9
    assert (table["mean_correlation"].values[inside] < -0.3).all()
    found = xc.latency(table, correction="max_t")
    assert seconds[inside][0] <= float(found["onset"]) < 0.15


def test_dispersion_of_representations_in_time_is_that_of_each_time():
    layers = timed(lambda seed: planted_recording(n_stimuli=12, n_times=4, rng=seed)["early"])
    found = xc.dispersion(layers, "rdm")
    assert found.dims == ("time", "stimulus")
    for number in range(3):
        np.testing.assert_allclose(
            found.isel(time=number), xc.dispersion(layers.isel(time=number), "rdm")
        )


@pytest.mark.slow
def test_level_over_twenty_bins_of_maps_that_are_not_related():
    """Any bin of 20 in about 3 of 60 studies: dispersion lies anyhow, alignment is real."""
    some = dict.fromkeys(("mean_p_value_cluster", "mean_p_value_max_t"), 0)
    for run in range(60):
        study = planted_recording(2, 30, 20, 12, 2, rng=run)
        order = np.random.default_rng(run).permutation(30)
        models = study["late"]
        brain = study["brain"].mean("repetition").expand_dims(model=["brain"])
        agreement = xc.alignment(models, brain, "rdm")
        dealt = xc.dispersion(models, "rdm")
        dealt = dealt.copy(data=dealt.values[order])
        table = xc.modulation(dealt, agreement, null="labels", n_bins=2, n_permutations=99, rng=run)
        for name in some:
            some[name] += float(table[name].min()) <= 0.05
    assert all(1 <= count <= 8 for count in some.values()), some  # binomial: 3 ± 1.7
