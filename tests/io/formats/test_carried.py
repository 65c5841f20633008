"""What rides along with features: columns that nobody needs do not stop a reader."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.io import savemat

import xconverge as xc
from tests.helpers import objects
from tests.io.formats.sets import IDS, X, assembly, assert_model, folder_of, save_hdf5
from xconverge.io.formats._labels import carried, decoded
from xconverge.io.formats.platonic import _chosen
from xconverge.labels.messages import SchemaError

MIXED = np.array(["null", "45", 90.0, 45.0], object)
"""Two values of these would be one as text."""


ODD = {
    "mixed": MIXED,
    "lists": objects([[1], [2, 3], [], [4]]),
    "arrays": objects(np.eye(4)),
    "dicts": objects([{}, {}, {}, {}]),
    "sets": objects([{1}, {2}, {3}, {4}]),
    "periods": objects(pd.period_range("2020", periods=4, freq="D")),
    "bytes of no text": objects([b"\xff", b"a", b"b", b"c"]),
    "raw": np.zeros(4, "V2"),
    "records": np.zeros(4, [("a", "f4"), ("b", "i4")]),
}


# the one function that makes columns plain


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a", b"b", "\u00fc"], ["a", "b", "\u00fc"]),
        (["a", None, np.nan], ["a", None, np.nan]),
        (["a", 1, 2.0, 0.5, False], ["a", "1", "2", "0.5", "False"]),
        ([1, 2], np.array([1, 2])),
        ([1, 2.5], np.array([1.0, 2.5])),
        ([1, None], np.array([1.0, np.nan])),
        ([1, pd.NA], np.array([1.0, np.nan])),
        ([np.float32(0.5), None], np.array([0.5, np.nan])),
        ([2**63, 1], np.array([2**63, 1], np.uint64)),
        ([2**70, 1], [str(2**70), "1"]),
        ([2**63, -1], [str(2**63), "-1"]),
        ([True, False], np.array([True, False])),
        ([None, None], np.array([np.nan, np.nan])),
        ([1j, 2], np.array([1j, 2])),
        ([dt.date(2020, 1, 2)], ["2020-01-02"]),
        ([dt.datetime(2020, 1, 2), None], np.array(["2020-01-02", "NaT"], "M8[us]")),
        ([pd.Timestamp("2020-01-02 03:04", tz="Europe/Berlin")], ["2020-01-02T03:04:00+01:00"]),
        ([dt.timedelta(seconds=1)], np.array([1_000_000], "m8[us]")),
        (np.array([1, 2], "m8[s]"), np.array([1, 2], "m8[s]")),
        (np.array([b"a", "\u00fc".encode()]), ["a", "\u00fc"]),
        (np.array(["a", ""], np.dtypes.StringDType()), ["a", ""]),
    ],
)
def test_decoded(values, expected):
    given = values if isinstance(values, np.ndarray) else objects(values)
    found = decoded(given, "'x'")
    if isinstance(expected, np.ndarray):
        # the unit of times that come as objects is up to pandas
        times = found.dtype.kind in "mM" and given.dtype == object
        assert found.dtype.kind == expected.dtype.kind if times else found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    else:
        assert found.dtype == object
        assert found.tolist() == expected


@pytest.mark.parametrize(
    "values",
    [*ODD.values(), objects([2**53 + 1, None]), objects([2**60, 0.5]), objects([True, None])],
)
def test_what_no_coordinate_can_hold_is_refused_by_name(values):
    with pytest.raises(SchemaError, match=r"^'x' "):
        decoded(values, "'x'")
    with pytest.warns(RuntimeWarning, match=r"^table: 'x' left out: 'x' "):
        found = carried({"x": values, "y": np.arange(4)}, what="table: ")
    assert list(found) == ["y"]
    with pytest.raises(SchemaError, match=r"^'x' "):
        carried({"x": values}, needed=["x"])


# readers


def brainio(values):
    array = xr.DataArray(
        X, dims=("presentation", "neuroid"),
        coords={"stimulus_id": ("presentation", IDS), "odd": ("presentation", values)},
    )  # fmt: skip
    return xc.io.from_brainio(array, model="m"), lambda: xc.io.from_brainio(
        array, model="m", stimulus_id="odd"
    )


def allen(values):
    array = xr.DataArray(
        X, dims=("stimulus_presentation_id", "unit_id"), name="m",
        coords={"stimulus_presentation_id": [4, 3, 2, 1], "unit_id": [7, 8, 9]},
    )  # fmt: skip
    table = pd.DataFrame({"frame": IDS[::-1], "odd": pd.Series(values[::-1])})
    table.index = [1, 2, 3, 4]

    def read(stimulus="frame"):
        return xc.io.from_allen(array, stimulus=stimulus, presentations=table)

    return read(), lambda: read("odd")


def rsatoolbox(values):
    data = pytest.importorskip("rsatoolbox.data")
    dataset = data.Dataset(X, {"model": "m", "odd": values}, {"stimulus": IDS}, {"u": [1, 2, 3]})
    dataset.obs_descriptors["odd"] = list(values)
    return xc.io.from_rsatoolbox_dataset(dataset), lambda: xc.io.from_rsatoolbox_dataset(
        dataset, stimulus="odd"
    )


def door(values):
    array = xr.DataArray(
        X, dims=("image", "feature"), name="m", coords={"image": IDS, "odd": ("image", values)}
    )
    return xc.from_xarray(array, stimulus="image"), lambda: xc.from_xarray(array, stimulus="odd")


def table(values):
    frame = pd.DataFrame({"model": "m", "stimulus": np.repeat(IDS, 3), "feature": [0, 1, 2] * 4})
    frame["representation"] = X.ravel()
    frame["odd"] = pd.Series(np.repeat(values, 3))
    return xc.io.from_long(frame), lambda: xc.io.from_long(frame, stimulus="odd")


@pytest.mark.slow_after(1)
@pytest.mark.parametrize("kind", sorted(set(ODD) - {"raw", "records"}))
@pytest.mark.parametrize("read", [brainio, allen, rsatoolbox, table])
def test_a_column_that_nobody_needs(read, kind):
    with pytest.warns(RuntimeWarning, match="'odd' left out: 'odd' "):
        reps, needing = read(ODD[kind])
    assert_model(reps, X, IDS)
    assert "odd" not in reps.coords
    with pytest.raises(SchemaError, match="'odd'"):
        needing()


@pytest.mark.parametrize("kind", sorted(set(ODD) - {"raw", "records"}))
def test_what_is_put_on_an_array_is_kept_or_refused(kind):
    with pytest.raises(SchemaError, match="^'odd' "):
        door(ODD[kind])


@pytest.mark.parametrize("read", [brainio, allen, rsatoolbox, door, table])
def test_mixed_columns_that_can_be_kept_are(read):
    reps, _ = read(np.array(["null", 45, 90.5, "x"], object))
    assert reps.odd.values.tolist() == ["null", "45", "90.5", "x"]


def test_tables_of_units_too():
    array = xr.DataArray(
        X, dims=("stimulus_presentation_id", "unit_id"), name="m",
        coords={"unit_id": [7, 8, 9], "frame": ("stimulus_presentation_id", IDS)},
    )  # fmt: skip
    units = pd.DataFrame({"waveform": ODD["arrays"], "area": list("abcb")}).set_axis([9, 8, 7, 6])
    with pytest.warns(RuntimeWarning, match="units: 'waveform' left out"):
        reps = xc.io.from_allen(array, stimulus="frame", units=units)
    assert reps.area.values.tolist() == ["c", "b", "a"]
    with pytest.raises(SchemaError, match="'waveform'"):
        xc.io.from_allen(array, stimulus="frame", units=units, by="waveform")


def test_columns_of_one_name_and_of_pandas_own_types():
    array = xr.DataArray(
        X, dims=("stimulus_presentation_id", "unit_id"), name="m",
        coords={"stimulus_presentation_id": [1, 2, 3, 4]},
    )  # fmt: skip
    frame = pd.DataFrame(
        {
            "frame": pd.Series(["d", "c", "b", "a"], dtype="str"),
            "whole": pd.array([2**53 + 1, 2, 3, 4], dtype="Int64"),
            "gaps": pd.array([1, None, 3, 4], dtype="Int64"),
            "kind": pd.Categorical(["x", "y", "x", "y"]),
            "zone": pd.date_range("2020", periods=4, tz="UTC"),
        }
    ).set_axis([1, 2, 3, 4])
    reps = xc.io.from_allen(array, stimulus="frame", presentations=frame)
    assert reps.whole.values.tolist() == [2**53 + 1, 2, 3, 4]
    np.testing.assert_array_equal(reps.gaps, [1, np.nan, 3, 4])
    assert reps.kind.values.tolist() == ["x", "y", "x", "y"]
    assert reps.zone.values[0] == "2020-01-01T00:00:00+00:00"
    with pytest.raises(SchemaError, match="several columns of one name: '1'"):
        xc.io.from_allen(
            array, stimulus="frame", presentations=frame.rename(columns={"kind": 1, "zone": "1"})
        )


# features that come with something else


def test_variables_beside_the_features(tmp_path):
    folder = folder_of(tmp_path)
    names = np.array([["a"], ["b"]], object)
    other = {
        "names": names,
        "padded": np.array(["ab", "cd "]),
        "one": {"x": 1},
        "z": np.ones(2) * 1j,
    }
    savemat(folder / "features.mat", {"features": X, **other})
    with pytest.warns(RuntimeWarning, match="'names', 'padded', 'one', 'z' left out"):
        assert_model(xc.io.read_thingsvision(folder), X, IDS, "alexnet")
    (folder / "features.mat").unlink()
    save_hdf5(folder / "features.h5", features=X, names=np.array([b"a", b"b"]))
    with pytest.warns(RuntimeWarning, match="'names' left out"):
        assert_model(xc.io.read_thingsvision(folder), X, IDS, "alexnet")


def test_variables_that_are_all_needed_are_numbers(tmp_path):
    folder = folder_of(tmp_path, ["a.png", "b.png"])
    for value, match in [
        (np.array([["x"], ["y"]], object), "'b' is of MATLAB's class 'cell', not numbers"),
        (np.array(["ab", "cd "]), "'b' is of MATLAB's class 'char', not numbers"),
    ]:
        savemat(folder / "features.mat", {"a": np.ones((1, 3)), "b": value})
        with pytest.raises(SchemaError, match=match):
            xc.io.read_thingsvision(folder)


# arguments that select by a value


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(
    ("regions", "one", "several"),
    [
        ([1, 2, 1], [1, "1", 1.0, np.int64(1), [1], ["1"], np.array([1])], [1, "2"]),
        ([0.5, 2.0, 0.5], [0.5, "0.5", np.float32(0.5)], [0.5, 2]),
        ([True, False, True], [True, "True", np.True_], [True, False]),
        (["IT", "V4", "IT"], ["IT", ["IT"], np.array(["IT"]), pd.Series(["IT"])], ("IT", "V4")),
        (["1", "2", "1"], ["1", 1], [1, 2]),
        (np.array([0, 1, 0], "M8[D]"), [np.datetime64(0, "D"), "1970-01-01"], None),
        ([1.0, np.nan, 1.0], [1, "1"], None),
        (np.array(["IT", None, "IT"], object), ["IT"], None),
    ],
)
def test_regions_are_values_or_their_text(regions, one, several):
    array = xr.DataArray(
        X, dims=("presentation", "neuroid"),
        coords={"stimulus_id": ("presentation", IDS), "region": ("neuroid", regions)},
    )  # fmt: skip
    for region in one:
        reps = xc.io.from_brainio(array, region=region)
        np.testing.assert_array_equal(reps.values[0], X[:, [0, 2]])
    if several is not None:
        np.testing.assert_array_equal(
            xc.io.from_brainio(array, region=several, model="m").values[0], X
        )
    for unknown in (7, "7", [7], 7.5, None):
        if unknown is not None:
            with pytest.raises(SchemaError, match="has no region '7.*it has '"):
                xc.io.from_brainio(array, region=unknown)
    with pytest.raises(SchemaError, match="no region of an empty list"):
        xc.io.from_brainio(array, region=[])
    with pytest.raises(SchemaError, match="region= must be"):
        xc.io.from_brainio(array, region=[object()])


def test_a_file_of_numeric_regions(tmp_path):
    array = assembly(repeats=1, regions=(1, 2))
    array.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    for region in (1, "1"):
        reps = xc.io.read_brainio(tmp_path / "a.nc", region=region)
        assert reps.model.values.tolist() == ["1"]
        np.testing.assert_array_equal(reps.values[0], array.values[:, [0, 2]])


def test_layers_are_numbers_or_their_text(tmp_path):
    for layers in ([0, -1], ["0", "-1"], (np.int64(0), 2), np.array([0, 2])):
        assert _chosen(layers, 3, tmp_path) == [0, 2]
    for layers in (1, "1", np.int64(-2)):
        assert _chosen(layers, 3, tmp_path) == [1]
    for layers in ("last", [3], [-4], [], [0, 0], [1, "conv"], [0.5], [True]):
        with pytest.raises(SchemaError, match="layers"):
            _chosen(layers, 3, tmp_path)


def test_features_may_be_numbers(tmp_path):
    pd.DataFrame(X).assign(id=IDS).to_csv(tmp_path / "m.csv", index=False)
    assert_model(xc.io.read_csv(tmp_path / "m.csv", "id", features=[2, 0]), X[:, [2, 0]], IDS)
    pytest.importorskip("pyarrow")
    pd.DataFrame(X, index=IDS).rename(columns=str).to_parquet(tmp_path / "m.parquet")
    assert_model(xc.io.read_parquet(tmp_path / "m.parquet", features=range(2)), X[:, :2], IDS)
    with pytest.raises(SchemaError, match="has no column '7'"):
        xc.io.read_parquet(tmp_path / "m.parquet", features=[7])


# what HDF5 can hold


def h5_kinds(h5py):
    """Descriptors as HDF5 has them, and what they become; None is left out."""
    yield np.array([b"a", "\u00fc".encode(), b"c "]), ["a", "\u00fc", "c "]
    yield np.array(["a", "\u00fc", ""], h5py.string_dtype()), ["a", "\u00fc", ""]
    yield np.array([True, False, True]), [True, False, True]
    yield np.array([0, 1, 0], h5py.enum_dtype({"x": 0, "y": 1}, "i1")), [0, 1, 0]
    yield np.array([2**60, 1, 2], ">i8"), [2**60, 1, 2]
    yield np.array([b"a", b"b", b"\xff"], h5py.string_dtype("ascii")), None
    yield "references", None
    yield np.zeros(3, [("a", "f4"), ("b", "i4")]), None
    yield np.zeros(3, "V3"), None


def test_descriptors_of_every_kind_of_hdf5(tmp_path):
    h5py = pytest.importorskip("h5py")
    for number, (values, expected) in enumerate(h5_kinds(h5py)):
        path = tmp_path / f"{number}.h5"
        with h5py.File(path, "w") as file:
            file.attrs["type"] = "Dataset"
            file["measurements"] = np.eye(3)
            file.create_group("descriptors").attrs["model"] = "m"
            file.create_group("channel_descriptors")
            table = file.create_group("obs_descriptors")
            table["stimulus"] = np.array(["x", "y", "z"], "S")
            refs = isinstance(values, str)
            table["odd"] = np.array([file.ref] * 3, h5py.ref_dtype) if refs else values
        if expected is None:
            with pytest.warns(RuntimeWarning, match="descriptor 'odd' left out"):
                reps = xc.io.read_rsatoolbox_dataset(path)
            assert "odd" not in reps.coords
            with pytest.raises(SchemaError, match="'odd' "):
                xc.io.read_rsatoolbox_dataset(path, stimulus="odd")
        else:
            assert xc.io.read_rsatoolbox_dataset(path).odd.values.tolist() == expected
