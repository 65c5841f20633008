"""Coordinates of every kind out and in again: the same values, their text, or an error by name."""

import datetime as dt
import warnings

import numpy as np
import pandas as pd
import pytest

import xconverge as xc
from tests.helpers import make_reps, objects
from xconverge.labels.messages import SchemaError

N = 4


def text(value):
    """What a value is as text: of times ISO 8601."""
    if isinstance(value, np.timedelta64 | dt.timedelta):
        return pd.Timedelta(value).isoformat()
    if isinstance(value, np.datetime64 | dt.date):
        return pd.Timestamp(value).isoformat().removesuffix("T00:00:00")
    if isinstance(value, float | np.floating):
        return np.format_float_positional(value + 0.0, trim="-")
    return value.decode() if isinstance(value, bytes) else str(value)


ZONE = pd.date_range("2020-03-28 01:30", periods=N, freq="D", tz="Europe/Berlin")
KINDS = {
    "whole": np.arange(N),
    "beyond 2**53": 2**53 + np.arange(N),
    "unsigned": np.uint64(2**64 - 1) - np.arange(N, dtype=np.uint64),
    "small": np.arange(N, dtype=np.int8),
    "double": np.array([0.1, -0.0, 1e300, np.nan]),
    "single": np.array([0.1, 1, 2, 3], np.float32),
    "half": np.array([0.1, 1, 2, 3], np.float16),
    "big endian": np.arange(N).astype(">i4"),
    "boolean": np.array([True, False, True, True]),
    "complex": np.arange(N) * 1j,
    "days": np.array(["2020-01-01", "1800-01-02", "2020-01-01", "2300-12-31"], "M8[D]"),
    "nanoseconds": np.arange(N).astype("M8[ns]"),
    "times with gaps": np.array(["2020-01-01", "NaT", "2021-01-01", "NaT"], "M8[s]"),
    "durations": np.arange(N).astype("m8[s]"),
    "short durations": np.arange(N).astype("m8[ns]"),
    "durations with gaps": np.array([1, "NaT", 2, 3], "m8[s]"),
    "dates": objects(dt.date(2020, 1, d + 1) for d in range(N)),
    "zones": objects(ZONE),
    "zones of pandas": ZONE,
    "text": objects(["a", "ü", "", "\u65e5"]),
    "text of NumPy": np.array(["a", "b", "c", "ü"]),
    "text of Zarr": np.array(["a", "b", "c", "ü"], np.dtypes.StringDType()),
    "text of Arrow": pd.Series(["a", "b", "c", "ü"], dtype="str").array,
    "bytes": np.array([b"a", b"b", b"c", b"d"]),
    "text with None": objects(["a", None, "b", "c"]),
    "text with NaN": objects(["a", np.nan, "b", "c"]),
    "text with NA": pd.array(["a", None, "b", "c"], dtype="string"),
    "categories": pd.Categorical(["b", "a", "b", "c"], categories=["c", "b", "a"]),
    "whole categories": pd.Categorical([3, 1, 3, 2]),
    "whole with NA": pd.array([1, None, 3, 4], dtype="Int64"),
    "large with NA": pd.array([2**53 + 1, None, 3, 4], dtype="Int64"),
    "boolean with NA": pd.array([True, None, False, True], dtype="boolean"),
    "intervals": pd.interval_range(0, N),
    "periods": objects(pd.period_range("2020", periods=N, freq="D")),
    "mixed": objects([1, "a", 2.5, "b"]),
    "tuples": objects([(1, 2)] * N),
    "lists": objects([[1], [2], [3], []]),
}


KEPT = {
    "whole", "beyond 2**53", "unsigned", "small", "double", "single", "half", "boolean",
    "nanoseconds", "text", "text of NumPy", "text of Zarr",
}  # fmt: skip
"""What every way brings back."""


def npz(reps, path):
    return xc.io.read_npz(xc.io.write_npz(path / "m.npz", reps))


def netcdf(reps, path):
    return xc.io.read_netcdf(xc.io.write_netcdf(path / "m.nc", reps))


def long(reps, path):
    return xc.io.from_long(xc.io.to_long(reps))


def long_without_notes(reps, path):
    frame = xc.io.to_long(reps)
    frame.attrs = {}
    return xc.io.from_long(frame)


def store(reps, path):
    xc.write_representations(path / "s.zarr", reps, modality="v")
    return xc.open_representations(path / "s.zarr", "v").compute()


def datasets(reps, path):
    pytest.importorskip("rsatoolbox")
    return xc.io.from_rsatoolbox_dataset(xc.io.to_rsatoolbox_dataset(reps))


def dataset_file(reps, path):
    pytest.importorskip("rsatoolbox")
    xc.io.to_rsatoolbox_dataset(reps)[0].save(str(path / "d.hdf5"))
    return xc.io.read_rsatoolbox_dataset(path / "d.hdf5")


def rdms(reps, path):
    pytest.importorskip("rsatoolbox")
    array = xc.rdm(make_reps(N, N, 3)).assign_coords(about=reps.about)
    return xc.io.from_rsatoolbox_rdms(xc.io.to_rsatoolbox_rdms(array))


def door(reps, path):
    return xc.from_xarray(reps)


WAYS = [npz, netcdf, long, long_without_notes, store, datasets, dataset_file, rdms, door]


def missing(value):
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def listed(values):
    """Values one by one, of whatever array."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "Mm":
        return list(values)
    plain = values if isinstance(values, np.ndarray) else np.asarray(values.astype(object))
    return plain.tolist() if plain.dtype.kind != "O" else list(plain)


def is_same(found, given):
    """The same value, or its text; a missing one is missing."""
    if missing(given):
        return missing(found)
    if isinstance(found, str):
        return found == text(given)
    if isinstance(given, np.datetime64 | np.timedelta64 | dt.date | dt.timedelta):
        # the text says every digit of either, whatever unit they are kept in
        return type(found) is not int and text(found) == text(given)
    if isinstance(given, bool) or isinstance(found, bool | np.bool_):
        return bool(found) == given and isinstance(found, bool | np.bool_)
    return not isinstance(found, str) and found == given


SHORT = [
    ("short durations", datasets), ("zones of pandas", long), ("large with NA", npz),
    ("text with None", datasets), ("times with gaps", datasets), ("zones", store),
    ("beyond 2**53", long_without_notes), ("days", netcdf), ("lists", door), ("bytes", rdms),
    ("text of Arrow", long), ("big endian", long), ("categories", datasets), ("mixed", npz),
]  # fmt: skip
"""What once came back as something else; all others with the long tests."""


@pytest.mark.parametrize(("kind", "way"), SHORT)
def test_kinds_that_once_came_back_as_something_else(tmp_path, kind, way):
    check_there_and_back(tmp_path, way, "stimulus", kind)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dim", ["stimulus", "model"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_comes_back_or_is_refused_by_name(tmp_path, way, dim, kind):
    check_there_and_back(tmp_path, way, dim, kind)


def check_there_and_back(tmp_path, way, dim, kind):
    reps = make_reps(N, N, 3)
    reps = reps.assign_coords(about=(dim, KINDS[kind]))
    found, said = None, []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = way(reps, tmp_path)
        except SchemaError as error:
            said.append(str(error))
    said += [str(warning.message) for warning in caught]
    assert all("about" in message for message in said), said
    if found is None or "about" not in found.coords:
        assert said
        assert kind not in KEPT
        return
    expected = listed(KINDS[kind])
    if way is dataset_file and dim == "model":
        expected = expected[:1]
    got = listed(found.about.values)
    assert len(got) == len(expected)
    assert all(map(is_same, got, expected)), (got, expected)
