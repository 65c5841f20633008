"""Long tables of pandas, both ways."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xconverge as xc
from tests.helpers import make_reps, no_compute


def rich(**options):
    """Models of three widths with missing rows, text that is not ASCII, coordinates everywhere."""
    reps = make_reps(3, 5, [4, 2, 3], missing=[(0, 1), (2, 4)], **options)
    real = xr.DataArray(np.arange(4), dims="feature") < reps.n_features
    unit = xr.DataArray(np.arange(12.0).reshape(3, 4), dims=("model", "feature"))
    areas = np.array([["É", "V1", "V4", "É"], ["V4", "V1", "", ""], ["É", "É", "V1", ""]], object)
    return reps.assign_coords(
        stimulus=[f"Bär {s}" for s in reps.stimulus.values],
        caption=("stimulus", ["猫", "b", "b", "", "e"]),
        age=("stimulus", [3, 1, 2, 2, 5]),
        seen=("stimulus", [True, False, True, True, False]),
        unit=unit.where(real),
        area=(("model", "feature"), areas),
        place=("feature", ["w", "x", "y", "z"]),
    )


def test_a_table_has_one_row_for_each_real_feature():
    reps = rich()
    frame = xc.io.to_long(reps)
    assert len(frame) == (4 + 2 + 3) * 5
    at = 0
    for m, model in enumerate(reps.model.values):
        for s, stimulus in enumerate(reps.stimulus.values):
            for f in range(int(reps.n_features[m])):
                row = frame.iloc[at]
                assert (row["model"], row["stimulus"], row["feature"]) == (model, stimulus, f)
                np.testing.assert_array_equal(row["representation"], reps.values[m, s, f])
                assert row["family"] == reps.family.values[m]
                assert row["caption"] == reps.caption.values[s]
                assert row["unit"] == reps.unit.values[m, f]
                at += 1
    assert at == len(frame)
    assert set(frame.columns) == {*reps.coords, "feature", "representation"}


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("extra", [None, {"time_bin": 2}])
def test_there_and_back_identical_in_any_order_of_rows(dtype, extra):
    reps = rich(dtype=dtype, extra=extra)
    if extra:
        reps = reps.assign_coords(time_bin=[0.1, 0.2], start=("time_bin", [0, 10]))
    frame = xc.io.to_long(reps)
    for seed in (None, 0, 1):
        rows = frame if seed is None else frame.sample(frac=1.0, random_state=seed)
        found = xc.io.from_long(rows)
        xr.testing.assert_identical(found, reps)
        assert found.dtype == dtype
        assert found.dims == reps.dims


def test_rows_of_missing_stimuli_may_be_left_out():
    reps = rich()
    found = xc.io.from_long(xc.io.to_long(reps).dropna(subset="representation"))
    xr.testing.assert_identical(found, reps)


def test_a_table_without_notes(tmp_path):
    reps = rich().drop_attrs()
    xc.io.to_long(reps).to_csv(tmp_path / "t.csv", index=False)
    empty = {"representation": [""]}
    frame = pd.read_csv(tmp_path / "t.csv", keep_default_na=False, na_values=empty)
    assert not frame.attrs
    found = xc.io.from_long(frame.sample(frac=1.0, random_state=0))
    aligned = found.sel(model=reps.model, stimulus=reps.stimulus)
    xr.testing.assert_allclose(aligned.transpose(*reps.dims), reps)
    for name in ("family", "caption", "age", "seen", "place", "area", "unit", "n_features"):
        assert found.coords[name].dims == reps.coords[name].dims, name


@settings(max_examples=10)
@given(data=st.data())
def test_any_small_set_there_and_back(data):
    n_models, n_stimuli = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 4))
    widths = data.draw(st.lists(st.integers(1, 3), min_size=n_models, max_size=n_models))
    missing = data.draw(
        st.lists(st.tuples(st.integers(0, n_models - 1), st.integers(0, n_stimuli - 1)))
    )
    reps = make_reps(n_models, n_stimuli, max(widths) if len(set(widths)) == 1 else widths,
                     missing=missing)  # fmt: skip
    frame = xc.io.to_long(reps)
    shuffled = frame.sample(frac=1.0, random_state=data.draw(st.integers(0, 99)))
    xr.testing.assert_identical(xc.io.from_long(shuffled), reps)


def test_features_by_name():
    frame = pd.DataFrame(
        {
            "net": ["a"] * 4 + ["b"] * 2,
            "image": [1, 1, 2, 2, 1, 2],
            "unit": ["u10", "u2", "u2", "u10", "u2", "u2"],
            "rate": [1, 2, 3, 4, 5, 6],
            "kind": ["x", "y", "y", "x", "y", "y"],
        }
    )
    names = {"stimulus": "image", "model": "net", "feature": "unit", "value": "rate"}
    reps = xc.io.from_long(frame, **names, modality="brain")
    assert reps.stimulus.values.tolist() == ["1", "2"]
    assert reps.n_features.values.tolist() == [2, 1]
    assert reps.feature_label.values.tolist() == [["u2", "u10"], ["u2", ""]]
    assert reps.sel(model="a").values.tolist() == [[2.0, 1.0], [3.0, 4.0]]
    np.testing.assert_array_equal(reps.sel(model="b").values, [[5.0, np.nan], [6.0, np.nan]])
    assert reps.attrs["modality"] == "brain"
    same = xc.io.from_long(frame[::-1], **names).sel(model=["a", "b"], stimulus=["1", "2"])
    xr.testing.assert_equal(same, reps)
    only = xc.io.from_long(frame[frame.net == "a"], **names)
    assert only.feature_label.values.tolist() == ["u2", "u10"]
    assert only.kind.values.tolist() == ["y", "x"]
    numbered = xc.io.from_long(frame.assign(unit=[30, 7, 7, 30, 7, 7]), **names)
    assert numbered.feature_label.values[0].tolist() == ["7", "30"]


def test_further_dims_are_named():
    frame = pd.DataFrame(
        {"model": "m", "stimulus": "s", "feature": 0, "bin": [20, 10], "representation": [2.0, 1.0]}
    )
    with pytest.raises(xc.SchemaError, match=r"1 rows too many.*extra=\[…\]"):
        xc.io.from_long(frame)
    reps = xc.io.from_long(frame, extra=["bin"])
    assert reps.dims == ("model", "stimulus", "feature", "bin")
    assert reps.bin.values.tolist() == [10, 20]
    assert reps.sel(bin=20).item() == 2.0


def test_faulty_tables():
    frame = xc.io.to_long(make_reps(2, 3, 2))
    with pytest.raises(xc.SchemaError, match=r"stimulus='image'.*it has 'model', 'stimulus'"):
        xc.io.from_long(frame, stimulus="image")
    with pytest.raises(xc.SchemaError, match="'stimulus' has missing labels"):
        xc.io.from_long(frame.assign(stimulus=frame.stimulus.astype(object).where(frame.index > 0)))
    with pytest.raises(xc.SchemaError, match="must hold numbers"):
        xc.io.from_long(frame.assign(representation="x"))
    with pytest.raises(xc.SchemaError, match="one combination several times"):
        xc.io.from_long(pd.concat([frame, frame.iloc[:1]]))
    with pytest.raises(xc.SchemaError, match="model 'net0', 1 of 2 features: '1'"):
        xc.io.from_long(frame.drop(index=1))
    with pytest.raises(xc.SchemaError, match="no rows"):
        xc.io.from_long(frame.iloc[:0])
    with pytest.raises(TypeError, match="pandas.DataFrame"):
        xc.io.from_long([1])


def test_results_are_tables_too():
    a, b = make_reps(2, 5, [4, 3]), make_reps(2, 5, 3, seed=1)
    score = xc.alignment(a, b, k=2)
    frame = xc.io.to_long(score)
    assert len(frame) == score.size
    for row in frame.itertuples():
        found = score.sel(model_a=row.model_a, model_b=row.model_b, stimulus=row.stimulus)
        assert row.alignment == found.item()
        assert row.family_a == found.family_a.item()
    rdm = xc.io.to_long(xc.rdm(a))
    assert list(rdm.columns[:3]) == ["model", "stimulus", "stimulus_2"]
    assert len(rdm) == 2 * 5 * 5
    number = xc.io.to_long(xr.DataArray(0.5, name="rsa"))
    assert number.to_dict("list") == {"rsa": [0.5]}


def test_a_dataset_is_what_xarray_makes_of_it():
    data = xr.Dataset(
        {"one": ("bin", [1.0, 2.0]), "two": (("bin", "net"), [[1, 2], [3, 4]])},
        {"bin": [0, 1], "name": ("net", ["a", "b"])},
    )
    frame = xc.io.to_long(data)
    expected = data.to_dataframe().reset_index()
    for name in ("bin", "net", "one", "two", "name"):
        assert frame[name].tolist() == expected[name].tolist()


def test_lazy_input_is_computed_once_and_left_as_it_was():
    reps = rich()
    lazy = reps.chunk(model=1)
    pd.testing.assert_frame_equal(xc.io.to_long(lazy), xc.io.to_long(reps))
    with no_compute(), pytest.raises(AssertionError, match="stayed lazy"):
        xc.io.to_long(lazy)


def test_a_multi_index_is_refused():
    reps = make_reps(2, 3, 2).set_index(stimulus=["category", "caption"])
    with pytest.raises(xc.SchemaError, match="MultiIndex"):
        xc.io.to_long(reps)
    with pytest.raises(xc.SchemaError, match="of its own name, 'feature'"):
        xc.io.to_long(make_reps(2, 3, 2).rename("feature"))
