"""Spike counts as AllenSDK gives them."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xconverge as xc

h5py = pytest.importorskip("h5py")
pytest.importorskip("h5netcdf")


def counts():
    """What presentationwise_spike_counts returns, and the two tables of a session."""
    rng = np.random.default_rng(0)
    ids = np.array([54, 51, 58, 53, 60])
    array = xr.DataArray(
        rng.poisson(2.0, (5, 2, 3)),
        dims=("stimulus_presentation_id", "time_relative_to_stimulus_onset", "unit_id"),
        coords={
            "stimulus_presentation_id": ids,
            "time_relative_to_stimulus_onset": [0.005, 0.015],
            "unit_id": [950913, 950907, 950910],
        },
        name="spike_counts",
    )
    presentations = pd.DataFrame(
        {
            "stimulus_name": ["natural_scenes"] * 4 + ["static_gratings"] * 2,
            "frame": np.array([4.0, 0.0, 4.0, 7.0, "null", 2.0], dtype=object),
            "start_time": np.arange(6.0),
        },
        index=pd.Index([51, 53, 54, 58, 60, 99], name="stimulus_presentation_id"),
    )
    units = pd.DataFrame(
        {"ecephys_structure_acronym": ["VISp", "LGd", "VISp"], "snr": [1.0, 2.0, 3.0]},
        index=[950907, 950910, 950913],
    )
    return array, presentations, units


def test_presentations_are_looked_up_by_id():
    array, presentations, units = counts()
    reps = xc.io.from_allen(
        array, stimulus="frame", presentations=presentations, units=units, repetitions="mean"
    )
    assert reps.dims == ("model", "stimulus", "feature", "time_relative_to_stimulus_onset")
    assert reps.model.values.tolist() == ["spike_counts"]
    assert reps.stimulus.values.tolist() == ["4", "7", "0", "null"]
    for frame, shown in {"4": [54, 51], "7": [58], "0": [53], "null": [60]}.items():
        expected = sum(array.sel(stimulus_presentation_id=i) for i in shown) / len(shown)
        np.testing.assert_array_equal(
            reps.sel(model="spike_counts", stimulus=frame).values, expected.values.T
        )
    assert reps.unit_id.values.tolist() == [950913, 950907, 950910]
    assert reps.snr.values.tolist() == [3.0, 1.0, 2.0]
    assert reps.stimulus_name.sel(stimulus="null") == "static_gratings"
    assert "start_time" not in reps.coords


def test_models_of_structures_and_stimuli_of_several_columns():
    array, presentations, units = counts()
    reps = xc.io.from_allen(
        array.isel(time_relative_to_stimulus_onset=0, drop=True),
        stimulus=["stimulus_name", "frame"],
        presentations=presentations,
        units=units,
        by="ecephys_structure_acronym",
        repetitions="keep",
    )
    assert reps.model.values.tolist() == ["VISp", "LGd"]
    assert reps.n_features.values.tolist() == [2, 1]
    assert reps.stimulus.values[0] == "natural_scenes/4"
    assert np.isnan(reps.sel(stimulus="natural_scenes/7", repetition=1)).all()
    assert reps.unit_id.values[0].tolist() == [950913, 950907]


def test_a_file_that_says_its_stimuli(tmp_path):
    array, _, _ = counts()
    shown = ("stimulus_presentation_id", ["ä", "b", "c", "d", "e"])
    array.assign_coords(stimulus_id=shown).to_netcdf(tmp_path / "c.nc", engine="h5netcdf")
    reps = xc.io.read_allen(tmp_path / "c.nc", modality="brain")
    assert reps.stimulus.values.tolist() == ["ä", "b", "c", "d", "e"]
    np.testing.assert_array_equal(reps.values[0], array.values.transpose(0, 2, 1))


def test_presentations_that_nobody_can_name_are_refused():
    array, presentations, units = counts()
    with pytest.raises(
        xc.SchemaError, match="no coordinate may say.*presentations=: there is none"
    ):
        xc.io.from_allen(array)
    with pytest.raises(
        xc.SchemaError, match="lacks 1 of 5 ids on 'stimulus_presentation_id': '60'"
    ):
        xc.io.from_allen(array, stimulus="frame", presentations=presentations.drop(60))
    twice = pd.concat([presentations, presentations.loc[[51]]])
    with pytest.raises(xc.SchemaError, match="ids twice: '51'"):
        xc.io.from_allen(array, stimulus="frame", presentations=twice)
    with pytest.raises(xc.SchemaError, match="1 of 4 stimuli several times"):
        xc.io.from_allen(array, stimulus="frame", presentations=presentations)
    with pytest.raises(xc.SchemaError, match="needs the dims .*'unit_id'"):
        xc.io.from_allen(array.rename(unit_id="cell"), stimulus="frame")
    both = presentations.assign(stimulus_id=1, stimulus_condition_id=2)
    with pytest.raises(xc.SchemaError, match="'stimulus_id', 'stimulus_condition_id' on .* differ"):
        xc.io.from_allen(array, presentations=both)
    with pytest.raises(xc.SchemaError, match="as coordinates: 'unit_id'"):
        xc.io.from_allen(array, stimulus="frame", units=units.assign(unit_id=1))


def test_presentations_ride_along_with_their_repetitions():
    counts = xr.DataArray(
        np.arange(12.0).reshape(4, 3),
        name="spike_counts",
        dims=("stimulus_presentation_id", "unit_id"),
        coords={"stimulus_presentation_id": [51, 52, 53, 54], "unit_id": [9, 7, 3]},
    )
    table = pd.DataFrame(
        {"frame": [4, 0, 4, 4], "stimulus_block": [1, 1, 2, 2], "start_time": [0.1, 0.2, 0.3, 0.4]},
        index=[51, 52, 53, 54],
    )
    kept = xc.io.from_allen(counts, stimulus="frame", presentations=table, repetitions="keep")
    xc.validate(kept)
    assert kept.repetition.values.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(kept.stimulus_block, [[1, 2, 2], [1, np.nan, np.nan]])
    np.testing.assert_array_equal(kept.start_time, [[0.1, 0.3, 0.4], [0.2, np.nan, np.nan]])
    np.testing.assert_array_equal(
        kept.stimulus_presentation_id, [[51, 53, 54], [52, np.nan, np.nan]]
    )
