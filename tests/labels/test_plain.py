"""Coordinates of pandas, of other machines and of objects, on sets that public functions take."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps, no_compute, objects
from xconverge import SchemaError
from xconverge.engine.resampling import strata_of
from xconverge.labels.plain import plain

N = 6
WORDS = ["dog", "cat", "owl", "dog", "cat", "dog"]
NUMBERS = [3, 1, 2, 3, 1, 3]
DAYS = [datetime.date(2020, 1, day) for day in NUMBERS]
BIG = 2**62 + 1
STRING: Any = "string[pyarrow]" if pd.__version__ >= "3" else "string"


# what each becomes: its kind and values
PLAIN: dict[str, tuple[Any, str, list[Any]]] = {
    "text of pandas": (pd.Series(WORDS, dtype="str"), "O", WORDS),
    "nullable text": (pd.array(WORDS, dtype=STRING), "O", WORDS),
    "missing text": (pd.array([None, *WORDS[1:]], dtype=STRING), "O", [np.nan, *WORDS[1:]]),
    "objects with NA": (objects([pd.NA, *WORDS[1:]]), "O", [np.nan, *WORDS[1:]]),
    "categories": (pd.Categorical(WORDS), "O", WORDS),
    "missing category": (pd.Categorical([None, *WORDS[1:]]), "O", [np.nan, *WORDS[1:]]),
    "categories of ints": (pd.Categorical(NUMBERS), "i", NUMBERS),
    "StringDType": (np.array(WORDS, np.dtypes.StringDType()), "O", WORDS),
    "big-endian text": (np.array(WORDS, ">U8"), "U", WORDS),
    "big-endian ints": (np.array(NUMBERS, ">i4"), "i", NUMBERS),
    "big-endian floats": (np.array(NUMBERS, ">f8"), "f", NUMBERS),
    "nullable ints": (pd.array(NUMBERS, dtype="Int64"), "i", NUMBERS),
    "missing int": (pd.array([None, *NUMBERS[1:]], dtype="Int64"), "f", [np.nan, *NUMBERS[1:]]),
    "large ints": (pd.array([BIG] * N, dtype="Int64"), "i", [BIG] * N),
    "nullable truth": (pd.array([True] * N, dtype="boolean"), "b", [True] * N),
    "ints as objects": (objects(NUMBERS), "i", NUMBERS),
    "floats as objects": (objects([1, 2.5, None, 4, 5, 6]), "f", [1, 2.5, np.nan, 4, 5, 6]),
    "days": (objects(DAYS), "M", [np.datetime64(day, "s") for day in DAYS]),
    "times": (objects([pd.Timestamp(day) for day in DAYS]), "M", list(np.array(DAYS, "M8[us]"))),
}
REFUSED: dict[str, tuple[Any, str]] = {
    "bytes": (np.array(WORDS, "S3"), "bytes, which.*numpy.char.decode"),
    "truth with NA": (pd.array([None] + [True] * (N - 1), dtype="boolean"), "'bool' and missing"),
    "rounded": (
        pd.array([None] + [2**62 + 1] * (N - 1), dtype="Int64"),
        "'int' and missing.*2..53",
    ),
    "mixed": (objects([1, "a", 2.5, 4, 5, 6]), "'float', 'int', 'str'"),
    "tuples": (objects([("a", i) for i in range(N)]), "'tuple'"),
    "periods": (pd.period_range("2020", periods=N, freq="D"), "'Period'.*astype"),
    "intervals": (pd.interval_range(0, N), "'Interval'.*astype"),
    "zones": (pd.date_range("2020", periods=N, tz="Europe/Paris"), "'Timestamp'.*tz_convert"),
    "records": (np.zeros(N, [("a", "i4")]), r"dtype \[\('a'"),
}


def with_kind(values, name="kind"):
    reps = make_reps(2, N, 4).drop_vars(["category", "caption"])
    return reps.assign_coords({name: ("stimulus", values)})


@pytest.mark.parametrize("kind", PLAIN)
def test_coordinates_become_what_xarray_and_zarr_hold(kind):
    given, letter, expected = PLAIN[kind]
    found = plain(with_kind(given), "reps")
    assert isinstance(found.kind.dtype, np.dtype)
    assert found.kind.dtype.kind == letter
    assert found.kind.dtype.isnative
    for one, wanted in zip(found.kind.values, expected, strict=True):
        assert one == wanted or (one != one and wanted != wanted)
    assert plain(found, "reps") is found
    assert found.isel(stimulus=[2, 0]).kind.values.tolist()[1] == found.kind.values.tolist()[0] or (
        pd.isna(expected[0])
    )


CALLS = {
    "alignment": lambda r, o: xc.alignment(o[:, ::-1], r, k=2),
    "dispersion": lambda r, o: xc.dispersion(r, "rdm"),
    "rdm": lambda r, o: xc.rdm(r),
    "center": lambda r, o: xc.center(r),
    "pair": lambda r, o: xc.pair(r, o[:, :4], join="inner")[0],
    "exclude": lambda r, o: xc.exclude_high_dispersion(r, xc.dispersion(o, "rdm"), 0.3),
    "from_xarray": lambda r, o: xc.from_xarray(r),
    "to_long": lambda r, o: xc.io.to_long(r),
}


@pytest.mark.slow_after(2)
@pytest.mark.parametrize("name", CALLS)
def test_public_functions_take_them_or_name_them(name):
    expected = CALLS[name](with_kind(WORDS), make_reps(2, N, 3, seed=1))
    for kind in ("text of pandas", "categories of ints"):
        found = CALLS[name](with_kind(PLAIN[kind][0]), make_reps(2, N, 3, seed=1))
        if isinstance(expected, xr.DataArray):
            np.testing.assert_array_equal(found, expected)
        else:
            assert len(found) == len(expected)
    for values, said in (REFUSED[kind] for kind in ("periods", "truth with NA")):
        with pytest.raises(SchemaError, match=f"'kind' holds {said}"):
            CALLS[name](with_kind(values), make_reps(2, N, 3, seed=1))


@pytest.mark.parametrize("kind", REFUSED)
def test_others_are_refused_by_name(kind):
    values, said = REFUSED[kind]
    with pytest.raises(SchemaError, match=f"reps: 'kind' (holds|has the) .*{said}"):
        xc.center(with_kind(values))


@pytest.mark.parametrize("dtype", ["str", "category"])
def test_columns_of_a_table_are_strata_groups_and_keys(dtype):
    column = pd.DataFrame({"kind": WORDS * 2}).astype(dtype)["kind"]
    bare, other = make_reps(2, 2 * N, 4), make_reps(2, 2 * N, 3, seed=1)
    images = other[:, :3].assign_coords(stimulus=["dog", "cat", "owl"])
    spread = xc.dispersion(other, "rdm")
    with_column = bare.assign_coords(kind=("stimulus", column))
    with_text = bare.assign_coords(kind=("stimulus", WORDS * 2))
    for call in (
        lambda r: strata_of("kind", (plain(r, "a"),)),
        lambda r: strata_of(r.kind, (other,)),
        lambda r: xc.exclude_high_dispersion(r, spread, 0.3, groups="kind"),
        lambda r: xc.pair(r, images, on="kind")[0],
    ):
        np.testing.assert_array_equal(call(with_column), call(with_text))


@pytest.mark.slow
@pytest.mark.parametrize("labels", [pd.CategoricalIndex, lambda x: pd.Index(x, dtype=STRING)])
def test_what_validate_lets_pass_is_written(labels, tmp_path):
    names = [f"s{i}" for i in range(N)]
    reps = make_reps(2, N, 4).assign_coords(stimulus=labels(names))
    assert xc.validate(reps) is reps
    xc.write_representations(tmp_path / "a.zarr", reps)
    opened = xc.open_representations(tmp_path / "a.zarr", "vision")
    assert opened.stimulus.values.tolist() == names
    with xc.ModelWriter(tmp_path / "b.zarr", "v", "m", reps, 1) as writer:
        writer.write(reps.stimulus, np.ones((N, 1)))
    written = xc.open_representations(tmp_path / "b.zarr", "v")
    assert written.stimulus.values.tolist() == names
    assert written.caption.values.tolist() == reps.caption.values.tolist()


def test_one_value_of_a_column_is_refused_before_pandas_crashes():
    # reading the value is a fault of memory in pandas 3.1
    reps = make_reps(2, N, 4).assign_coords(breed=("model", pd.Categorical(["a", "b"])))
    one = reps.isel(model=0)
    with pytest.raises(SchemaError, match=r"'breed' is one value.*category.*astype\(object\)"):
        xc.stack_models({"a": one})


def test_what_is_plain_is_untouched_and_lazy_is_not_read():
    reps = make_reps(2, N, 4)
    assert plain(reps, "reps") is reps
    lazy = reps.chunk(stimulus=2)
    with no_compute():
        assert plain(lazy, "reps") is lazy


def test_extra_dims_keep_their_kind():
    reps = make_reps(2, N, 4, extra={"layer": 2})
    assert plain(reps.assign_coords(layer=[3, 1]), "reps").layer.values.tolist() == [3, 1]
    found = plain(reps.assign_coords(layer=pd.CategoricalIndex(["x", "y"])), "reps")
    assert found.indexes["layer"].tolist() == ["x", "y"]
    assert isinstance(found.layer.dtype, np.dtype)
    with pytest.raises(SchemaError, match="'layer' holds 'Interval'"):
        xc.center(reps.assign_coords(layer=pd.interval_range(0, 2)))


# --- values by label, as a Series ----------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of so few stimuli
def test_a_series_is_joined_by_its_index():
    reps, other = make_reps(3, 12, 5), make_reps(2, 12, 4, seed=1)
    spread = xc.dispersion(reps, "rdm")
    series = spread.to_series().sample(frac=1, random_state=0)
    groups = reps.category.to_series().sample(frac=1, random_state=1)
    scores = xc.alignment(reps, other, k=3)
    calls = (
        lambda s, g: xc.dispersion_bins(s, 3).sel(stimulus=reps.stimulus),
        lambda s, g: (
            xc.modulation(
                s, scores, n_bins=2, n_permutations=9, strata=g, rng=0, null="labels"
            ).p_value
        ),
        lambda s, g: (
            xc.modulation(
                spread, scores, covariates=s * 37 % 1, n_permutations=0, null="labels"
            ).correlation
        ),
        lambda s, g: xc.exclude_high_dispersion(reps, s, 0.3, groups=g),
        lambda s, g: xc.select_stimuli(s, 3, groups=g)["value"],
        lambda s, g: xc.calibrate(reps, other, k=3, strata=g, n_permutations=9, rng=0).p_value,
        lambda s, g: (
            xc.subset_contrast(
                s, reps, other, size=4, k=2, n_random=9, match=s**2, groups=g, rng=0, null="labels"
            ).score
        ),
    )
    for call in calls:
        found, expected = call(series, groups), call(spread, reps.category)
        np.testing.assert_array_equal(found, expected)
        if "stimulus" in expected.dims:
            assert found.stimulus.values.tolist() == expected.stimulus.values.tolist()
    bare = series.reset_index(drop=True)
    for call in (calls[0], lambda s, g: xc.exclude_high_dispersion(reps, spread, 0.3, groups=s)):
        with pytest.raises(SchemaError, match="(dispersion|groups) is a Series without labels"):
            call(bare, groups)


@pytest.mark.parametrize("given", [np.zeros(12), list(range(12))])
def test_values_without_labels_are_never_taken_by_position(given):
    reps = make_reps(3, 12, 5)
    with pytest.raises(TypeError, match="strata must be the name.*labels on 'stimulus', got"):
        xc.calibrate(reps, reps, k=3, strata=given, n_permutations=9)
    with pytest.raises(TypeError, match="dispersion must be an xarray.DataArray"):
        xc.dispersion_bins(given)


def test_stimuli_without_a_group_are_not_one():
    reps = make_reps(3, 12, 5)
    reps = reps.assign_coords(kind=("stimulus", objects(["a", None] * 6)))
    with pytest.raises(SchemaError, match=r"strata has no value for .*\(6 in all\)"):
        xc.calibrate(reps, reps, k=3, strata="kind", n_permutations=9)
    with pytest.raises(SchemaError, match="groups='kind' has no value for"):
        xc.shared_space(reps, folds=2, groups="kind")
