"""One door: every kind of label gives the same text at every entry, or an error by name."""

from __future__ import annotations

import datetime
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps, no_compute, objects
from xconverge import SchemaError
from xconverge.io.writer_checks import Asked
from xconverge.labels.text import label_text

NAMES = ["s10", "s2", "é"]
N = len(NAMES)
X = np.random.default_rng(0).standard_normal((N, 4))
BIG = [2**53 + 1, 2**63 - 1, 7]


def days(*dates: str) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(dates)


ARROW = pd.array(NAMES, dtype="string[pyarrow]") if pd.__version__ >= "3" else objects(NAMES)
DATES = ["2020-01-31", "2021-12-01", "1999-02-03"]
TIMES = ["2020-01-31T12:30:00", "2021-12-01", "1999-02-03T00:00:00.500000"]

# what every entry makes of these; it may refuse them too
TEXT: dict[str, tuple[Any, list[str]]] = {
    "list": (NAMES, NAMES),
    "tuple": (tuple(NAMES), NAMES),
    "keys": (dict.fromkeys(NAMES).keys(), NAMES),
    "numpy": (np.array(NAMES), NAMES),
    "big-endian text": (np.array(NAMES, ">U8"), NAMES),
    "numpy strings": (np.array(NAMES, np.dtypes.StringDType()), NAMES),
    "objects": (objects(NAMES), NAMES),
    "str_": ([np.str_(name) for name in NAMES], NAMES),
    "str": (pd.Series(NAMES, dtype="str"), NAMES),
    "arrow": (ARROW, NAMES),
    "nullable text": (pd.array(NAMES, dtype="string"), NAMES),
    "series": (pd.Series(NAMES, index=[5, 3, 1]), NAMES),
    "index": (pd.Index(NAMES), NAMES),
    "categorical": (pd.Categorical(NAMES), NAMES),
    "categorical index": (pd.CategoricalIndex(NAMES), NAMES),
    "DataArray": (xr.DataArray(NAMES, dims="stimulus"), NAMES),
    "own labels": (xr.DataArray(X, {"stimulus": NAMES}, ("stimulus", "f")).stimulus, NAMES),
    "Variable": (xr.Variable("stimulus", NAMES), NAMES),
    "lazy": (xr.DataArray(da.from_array(objects(NAMES), chunks=2), dims="stimulus"), NAMES),
    "masked, none missing": (np.ma.masked_array(NAMES, [False] * N), NAMES),
    "ints": ([3, 10, 7], ["3", "10", "7"]),
    "range": (range(N), ["0", "1", "2"]),
    "int8": (np.array([3, -10, 7], "i1"), ["3", "-10", "7"]),
    "big-endian ints": (np.array([3, 10, 7], ">i4"), ["3", "10", "7"]),
    "beyond 2**53": (BIG, [str(i) for i in BIG]),
    "beyond, int64": (np.array(BIG), [str(i) for i in BIG]),
    "beyond, nullable": (pd.array(BIG, dtype="Int64"), [str(i) for i in BIG]),
    "uint64": (np.array([2**64 - 1, 0, 1], "u8"), ["18446744073709551615", "0", "1"]),
    "beyond 64 bits": (objects([2**70, 1, 2]), [str(2**70), "1", "2"]),
    "categories of ints": (pd.Categorical([3, 10, 7]), ["3", "10", "7"]),
    "dates": ([datetime.date.fromisoformat(day) for day in DATES], DATES),
    "datetimes": ([datetime.datetime.fromisoformat(time) for time in TIMES], TIMES),
    "datetime64": (np.array(TIMES, "M8[ms]"), TIMES),
    "days": (np.array(DATES, "M8[D]"), DATES),
    "DatetimeIndex": (pd.DatetimeIndex(np.array(TIMES, "M8[ns]")), TIMES),
}

# what every entry refuses
REFUSED: dict[str, Any] = {
    "numpy bytes": np.array([b"a", b"b", b"c"]),
    "bytes": [b"a", b"b", b"c"],
    "None": [None, "b", "c"],
    "NaN": ["a", np.nan, "c"],
    "NA": pd.array([None, "b", "c"], dtype="string"),
    "NA beside ints": pd.array([None, 1, 2], dtype="Int64"),
    "NaT": np.array(["NaT", "2020", "2021"], "M8[s]"),
    "missing category": pd.Categorical(["a", None, "c"]),
    "masked": np.ma.masked_array([1, 2, 3], [True, False, False]),
    "floats": [0.0, 1.0, 2.0],
    "float16": np.arange(3, dtype="f2"),
    "big-endian floats": np.arange(3, dtype=">f8"),
    "complex": np.arange(3) * 1j,
    "truth": [True, False, True],
    "objects": [object(), object(), object()],
    "tuples": objects([("a", 0), ("a", 1), ("b", 0)]),
    "lists": objects([["a"], ["b"], ["c"]]),
    "column vector": np.array(NAMES)[:, None],
    "mixed": objects([1, "b", "c"]),
    "mixed dates": objects([datetime.date(2020, 1, 1), "b", "c"]),
    "timedeltas": pd.to_timedelta([1, 2, 3], unit="s"),
    "timedelta64": np.array([1, 2, 3], "m8[s]"),
    "periods": pd.period_range("2020", periods=3, freq="D"),
    "intervals": pd.interval_range(0, 3),
    "zones": pd.date_range("2020", periods=3, tz="Europe/Paris"),
    "twice": ["a", "b", "a"],
}

# of these xarray itself makes something else, or refuses them in its own words
CONTAINERS: dict[str, Any] = {
    "set": set(NAMES),
    "frozenset": frozenset(NAMES),
    "generator": (name for name in NAMES),
    "dict": dict.fromkeys(NAMES, 0),
    "text": "abc",
    "DataFrame": pd.DataFrame({"id": NAMES}),
    "MultiIndex": pd.MultiIndex.from_product([["a", "b", "c"], [0]]),
    "captions": make_reps(1, N, 2).caption,
    "0-d arrays": list(xr.DataArray(NAMES, dims="s")),
    "number": 3,
}


def of_rows(given, path):
    return xc.stack_models({"m": X}, stimuli=given)


def of_frame(given, path):
    return xc.stack_models({"m": pd.DataFrame(X).set_axis(pd.Index(given))})


def of_models(given, path):
    names = given.values if isinstance(given, xr.DataArray | xr.Variable) else given
    reps = xc.stack_models(dict.fromkeys(names, X), stimuli=NAMES)
    return reps.rename(model="stimulus", stimulus="model")


def of_writer(given, path):
    return Asked.of("m", given, 4, None, {}, None).labels


def of_batches(given, path):
    with xc.ModelWriter(path, "v", "m", given, 4) as writer:
        writer.write(given, X)
    return xc.open_representations(path, "v")


def assigned(given):
    if isinstance(given, xr.DataArray):
        given = given.variable
    given = given.to_base_variable().data if isinstance(given, xr.Variable) else given
    reps = xr.DataArray(X[None], dims=("model", "stimulus", "feature"), coords={"model": ["m"]})
    # of a list NumPy would make text, of NaN too
    listed = isinstance(given, list | tuple)
    return reps.assign_coords(stimulus=objects(list(given)) if listed else given)


def of_xarray(given, path):
    return xc.from_xarray(assigned(given).chunk())


def of_set(given, path):
    return xc.center(assigned(given))


def of_store(given, path):
    xc.write_representations(path, assigned(given), modality="v")
    return xc.open_representations(path, "v")


def of_join(given, path):
    return xc.pair(assigned(given), assigned(given)[:, ::-1])[1]


def of_pair(given, path):
    reps = assigned(NAMES).assign_coords(key=("stimulus", assigned(given).indexes["stimulus"]))
    return xc.pair(reps, reps, on="key")[0]


def of_npy(given, path):
    np.save(f"{path}.npy", X)
    return xc.io.read_npy(f"{path}.npy", given)


def of_series(given, path):
    return xc.dispersion_bins(pd.Series(X[:, 0], index=pd.Index(given)), 2)


TYPED = (of_rows, of_writer, of_batches, of_npy)
ON_A_SET = (of_xarray, of_set, of_join, of_store)
WHOLE = (of_rows, of_writer, of_set)
OTHERS = (of_frame, of_models, of_series, of_npy, of_xarray, of_join, of_pair, of_store, of_batches)
# an entry, and every how manieth kind is tried there
ENTRIES = [
    *((entry, 1) for entry in WHOLE),
    *((entry, 5) for entry in OTHERS),
    *(pytest.param(entry, 1, marks=pytest.mark.slow) for entry in OTHERS),
]


def made_of(entry, given, path):
    """The text that an entry makes of labels; None where it refuses them by name."""
    try:
        found = entry(given, path)
    except SchemaError:
        return None
    labels = found.indexes["stimulus"].tolist()
    # older pandas keeps NumPy's text, which is a kind of str
    assert all(isinstance(label, str) for label in labels)
    return labels


def fits(entry, kind):
    """Whether xarray or pandas hands the labels on as they are."""
    # a Series given to pandas as an index, or a range, is another thing
    pandas = {"truth", "lazy", "range", "Variable", "masked", "masked, none missing", "float16"}
    if entry in (of_frame, of_series):
        return kind not in pandas | {"column vector", "tuples", "lists", "DataArray", "keys"}
    if entry is of_models:
        # the keys of a dict
        return kind not in {"twice", "lists", "column vector", "masked", "lazy"}
    # no coordinate has room for these numbers
    beyond = {"beyond 64 bits"} if entry is of_pair else set()
    if entry in (*ON_A_SET, of_pair):
        # xarray makes '1' of 1 beside text; of dims of two it says itself that they are wrong
        return kind not in {"keys", "column vector", "float16", "masked, none missing", *beyond}
    return True


@pytest.mark.slow_after(1)
@pytest.mark.parametrize(("entry", "step"), ENTRIES)
def test_every_kind_becomes_the_same_text(entry, step, tmp_path):
    for kind, (given, expected) in list(TEXT.items())[::step]:
        if fits(entry, kind):
            assert made_of(entry, given, tmp_path / kind) == expected, kind


@pytest.mark.parametrize(("entry", "step"), ENTRIES)
def test_every_other_kind_is_refused(entry, step, tmp_path):
    for kind, given in list(REFUSED.items())[::step]:
        # captions of one image share its id
        if fits(entry, kind) and not (entry is of_pair and kind == "twice"):
            assert made_of(entry, given, tmp_path / kind) is None, kind


@pytest.mark.parametrize("entry", TYPED)
def test_what_is_no_row_of_labels_is_refused(entry, tmp_path):
    for number, (kind, given) in enumerate(CONTAINERS.items()):
        if entry is of_npy and kind == "text":
            continue  # the path of a file
        with pytest.raises(SchemaError, match="sequence of labels|must be text|other labels"):
            entry(given, tmp_path / f"{number}")
        assert kind != "captions" or entry is not of_rows or given.name == "caption"


def test_errors_say_which_label_and_what_to_do():
    for given, said in (
        ([b"a"], "number 1 is b'a' \\(bytes\\): .*decode"),
        (["a", None], "has missing labels; every one needs a name, and number 2 is None"),
        ([1.0], "number 1 is 1.0 \\(float\\): 1.0 and 1 would be two labels"),
        ([1, "1"], "whole numbers \\('1'\\) and text \\('1'\\) mixed"),
        ({"b"}, "got a set, which has no order"),
        ((i for i in "ab"), "can be read once only; use list"),
        (np.array([["a"]]), r"shape \(1, 1\).*ravel"),
        (pd.to_timedelta([1]), "Timedelta.*whole numbers of a unit"),
        (pd.date_range("2020", periods=1, tz="UTC"), "time zone: use .tz_convert"),
        (pd.DataFrame(), "got a DataFrame, a table; choose the column"),
        (make_reps(1, 2, 2).caption, r"other labels of their own.*\.values.*\.stimulus"),
    ):
        with pytest.raises(SchemaError, match=f"ids.*{said}"):
            label_text(given, "ids")


def test_one_time_has_one_text():
    day = "2020-01-31"
    units = (np.datetime64(day, unit) for unit in ("D", "s", "ns"))
    every = [
        datetime.date.fromisoformat(day),
        datetime.datetime.fromisoformat(day),
        pd.Timestamp(day),
        *units,
    ]
    assert label_text(every, "ids").tolist() == [day] * len(every)


def test_labels_that_are_lazy_are_read_alone():
    reps = make_reps(1, N, 4).chunk()
    with no_compute():
        assert xc.stack_models({"m": reps[0].data}, stimuli=reps.stimulus).chunks
