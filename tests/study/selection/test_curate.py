"""Sets without the stimuli of highest dispersion."""

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps, shuffled


def by_label(reps):
    """A value for every stimulus, the number in its label."""
    numbers = [float(s[1:]) for s in reps["stimulus"].values]
    return xr.DataArray(numbers, dims="stimulus", coords={"stimulus": reps["stimulus"]})


def test_high_dispersion_is_left_out_everywhere(raising_scheduler):
    reps = make_reps(3, 20, 4).chunk(stimulus=6)
    spread = shuffled(by_label(reps))
    kept = xc.exclude_high_dispersion(reps, spread, 0.25)
    expected = [s for s in reps["stimulus"].values if int(s[1:]) < 15]
    assert kept["stimulus"].values.tolist() == expected
    assert kept.chunks is not None
    assert kept.attrs["n_excluded"] == 5
    assert kept.attrs["excluded_from"] == 15.0
    assert kept.attrs["modality"] == "vision"
    xr.testing.assert_identical(
        xc.exclude_high_dispersion(reps.to_dataset(name="a"), spread, 0.25)["a"].drop_attrs(),
        kept.rename("a").drop_attrs(),
    )
    rdms = xc.exclude_high_dispersion(shuffled(xc.rdm(reps), 3, "stimulus_2"), spread, 0.25)
    assert set(rdms["stimulus_2"].values) == set(rdms["stimulus"].values) == set(expected)
    assert xc.exclude_high_dispersion(reps, spread, 0.0).sizes == reps.sizes


def test_every_group_loses_its_share():
    reps = make_reps(3, 30, 4)
    kept = xc.exclude_high_dispersion(reps, by_label(reps), 0.2, groups="category")
    left = {name: sorted(int(s[1:]) for s in part["stimulus"].values)
            for name, part in kept.groupby("category")}  # fmt: skip
    assert left == {f"cat{c}": list(range(c, 24, 3)) for c in range(3)}
    assert kept.attrs["excluded_from"] == {"cat0": 24.0, "cat1": 25.0, "cat2": 26.0}
    tied = xc.exclude_high_dispersion(reps, by_label(reps) * 0, 0.1)
    assert {"s27", "s28", "s29"} == set(reps["stimulus"].values) - set(tied["stimulus"].values)
    assert tied.attrs["excluded_from"] == 0.0


def test_stimuli_without_dispersion():
    reps = make_reps(3, 20, 4)
    spread = by_label(reps)
    spread[spread == 4.0] = np.nan
    with pytest.raises(xc.SchemaError, match="dispersion is missing for 's4'"):
        xc.exclude_high_dispersion(reps, spread)
    keep = xc.exclude_high_dispersion(reps, spread, missing="keep")
    drop = xc.exclude_high_dispersion(reps, spread, missing="drop")
    assert set(keep["stimulus"].values) - set(drop["stimulus"].values) == {"s4"}
    assert keep.attrs["n_excluded"] == drop.attrs["n_excluded"] == 1
    assert keep.attrs["n_without_dispersion"] == 1
    with pytest.raises(xc.SchemaError, match="array and dispersion must have the same labels"):
        xc.exclude_high_dispersion(reps, spread[:10])
    common = xc.pair(reps, spread[:10], join="inner")
    inner = xc.exclude_high_dispersion(*common, share=0.2, missing="drop")
    assert inner.attrs["n_dropped"] == 10
    with pytest.raises(ValueError, match="share=1"):
        xc.exclude_high_dispersion(reps, spread, 1)
    with pytest.warns(RuntimeWarning, match="does not come to one"):
        assert xc.exclude_high_dispersion(reps, by_label(reps), 0.01).sizes == reps.sizes
    reps["category"].values[0] = None
    with pytest.raises(xc.SchemaError, match="groups has no value for"):
        xc.exclude_high_dispersion(reps, by_label(reps), groups="category")
    with pytest.raises(xc.SchemaError, match=r"array needs .*\['stimulus'\] missing"):
        xc.exclude_high_dispersion(reps.rename(stimulus="item"), spread)
