"""Near-duplicates that were planted are found, and no others; the emoji set."""

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps, no_compute, shuffled
from xconverge.cli.demo import shipped


def planted(n=120, groups=((3, 7), (10, 11, 12), (20, 119)), noise=0.02, seed=0, models=3):
    """A cloud in which these stimuli are copies with little noise, in every model."""
    rng = np.random.default_rng(seed)
    sets = {}
    for m in range(models):
        x = rng.standard_normal((n, 10 + m))
        for first, *others in groups:
            for other in others:
                x[other] = x[first] + noise * rng.standard_normal(10 + m)
        sets[f"net{m}"] = x
    return xc.stack_models(sets, stimuli=[f"s{i}" for i in range(n)])


def members(found):
    """Groups of several, as sets of labels."""
    names = found.values
    several = {name for name in names if (names == name).sum() > 1}
    return {frozenset(found["stimulus"].values[names == name]) for name in several}


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
def test_planted_groups_are_found_and_no_others(noise):
    found = xc.find_duplicates(planted(noise=noise))
    assert members(found) == {
        frozenset(f"s{i}" for i in group) for group in ((3, 7), (10, 11, 12), (20, 119))
    }
    assert found.attrs["n_groups"] == 3
    # the first label in natural order, not in that of text
    assert found.sel(stimulus="s119").item() == "s20"
    assert found.sel(stimulus="s12").item() == "s10"
    assert (found[30:60] == found["stimulus"][30:60]).all()


def test_order_and_chunks_change_nothing():
    reps = planted()
    expected = xc.find_duplicates(reps)
    other = xc.find_duplicates(shuffled(shuffled(reps, 3), 1, "model").chunk(model=1, stimulus=17))
    xr.testing.assert_equal(other.sel(stimulus=expected["stimulus"]), expected)


def test_a_pair_needs_a_share_of_the_models_that_saw_both():
    reps = planted(groups=((3, 7),))
    reps[2, 7] = np.random.default_rng(5).standard_normal(12)
    assert xc.find_duplicates(reps, of_models=0.6).attrs["n_groups"] == 1
    assert xc.find_duplicates(reps, of_models=0.7).attrs["n_groups"] == 0
    reps[2, 7] = np.nan
    assert xc.find_duplicates(reps, of_models=1.0).attrs["n_groups"] == 1
    reps[:, 7] = np.nan
    assert xc.find_duplicates(reps).attrs["n_groups"] == 0


def test_extra_dims_count_as_models():
    reps = planted(groups=((3, 7),), models=1)
    other = planted(groups=(), models=1, seed=1)
    both = xr.concat([reps, other, other], "layer").assign_coords(layer=["x", "y", "z"])
    assert xc.find_duplicates(both, of_models=0.3).attrs["n_groups"] == 1
    assert xc.find_duplicates(both, of_models=0.4).attrs["n_groups"] == 0


def test_they_are_blocks():
    a = planted(40, groups=tuple((i, i + 1) for i in range(0, 20, 2)))
    blocks = xc.find_duplicates(a)
    assert blocks.attrs["n_groups"] == 10
    table = xc.calibrate(a, a[:, ::-1], "cka", blocks=blocks, n_permutations=19, rng=0)
    assert table.attrs["blocks"] == "duplicates"
    named = a.assign_coords(unit=blocks.drop_vars(["n_features"], errors="ignore"))
    again = xc.calibrate(named, a, "cka", blocks="unit", n_permutations=19, rng=0)
    np.testing.assert_array_equal(table["p_value"], again["p_value"])


def test_wrong_arguments():
    reps = make_reps(2, 12, 4)
    for name, value in (("threshold", 1.0), ("threshold", 0), ("of_models", 0), ("of_models", 1.1)):
        with pytest.raises(ValueError, match=f"{name} must be"):
            xc.find_duplicates(reps, k=3, **{name: value})
    with pytest.raises(ValueError, match="k=12 neighbours need at least 13"):
        xc.find_duplicates(reps, k=12)
    zero = reps.copy(deep=True)
    zero[1, 2] = 0
    with pytest.raises(xc.SchemaError, match="zero vector"):
        xc.find_duplicates(zero, k=3)
    with pytest.raises(AssertionError), no_compute():
        xc.find_duplicates(reps.chunk(), k=3)


@pytest.mark.slow
def test_clock_faces_and_photographs():
    with shipped() as folder:
        emoji = xc.open_representations(folder / "demo.zarr", "vision").load()
        images = xc.open_representations(folder / "demo.zarr", "images92").load()
    found = xc.find_duplicates(emoji)
    groups = [emoji["caption"].sel(stimulus=list(group)).values for group in members(found)]
    clocks = max(groups, key=lambda names: sum("o’clock" in name for name in names))
    assert sum("o’clock" in name or "thirty" in name for name in clocks) >= 20
    assert all("o’clock" in name or "thirty" in name for name in clocks)
    assert 0.1 < np.mean([(found == name).sum() > 1 for name in found]) < 0.3
    assert xc.find_duplicates(images).attrs["n_groups"] == 0
