"""Selections as files."""

import csv
import stat
import tempfile

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xconverge as xc
from tests.helpers import make_reps
from xconverge.io.formats.csv import write_selection

AWKWARD = ['a, "quoted" café', "two\nlines", "a return\rhere", "猫 🐈", "", "NA", "007", "1E5"]


def awkward():
    return xr.DataArray(
        np.linspace(0, 1, 8) / 3,
        dims="stimulus",
        coords={
            "stimulus": [f"s{i}" for i in range(6)] + ["NA", "1F600"],
            "caption": ("stimulus", np.array(AWKWARD, dtype=object)),
            "shown": ("stimulus", np.arange(8) % 2 == 0),
        },
        name="dispersion",
    )


def test_a_selection_comes_back_from_its_file(tmp_path):
    by = awkward()
    chosen = xc.select_stimuli(by, 8, "high", without=by.expand_dims(model=["a", "b"]))
    path = write_selection(tmp_path / "high.csv", chosen)
    texts = dict.fromkeys(("stimulus", "caption", "value"), str)
    table = pd.read_csv(path, dtype=texts, keep_default_na=False)
    table["value"] = table["value"].map(float)  # pandas 2 rounds in parsing
    assert table["order"].tolist() == list(range(1, 9))
    for name in ("stimulus", "caption", "value", "rank", "reason", "stability", "shown"):
        assert table[name].tolist() == chosen[name].values.tolist(), name
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["caption"] for row in rows] == chosen["caption"].values.tolist()
    assert [p.name for p in tmp_path.iterdir()] == ["high.csv"]
    assert path.stat().st_mode & stat.S_IRUSR
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_selection(path, chosen)
    few = xc.select_stimuli(by, 2)
    write_selection(str(path), few, overwrite=True)
    assert len(pd.read_csv(path)) == 2


def test_a_file_that_fails_leaves_nothing(tmp_path, monkeypatch):
    chosen = xc.select_stimuli(awkward(), 2)
    path = write_selection(tmp_path / "a.csv", chosen)
    before = path.read_bytes()

    def broken(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(pd.DataFrame, "to_csv", broken)
    with pytest.raises(OSError, match="disk full"):
        write_selection(path, chosen, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]
    assert path.read_bytes() == before


def test_several_sets_are_one_file(tmp_path):
    by = awkward()
    sets = {"low": xc.select_stimuli(by, 3), "high": xc.select_stimuli(by, 2, "high")}
    path = write_selection(tmp_path / "both.csv", sets)
    table = pd.read_csv(path, dtype={"stimulus": str}, keep_default_na=False)
    assert table["set"].tolist() == ["low"] * 3 + ["high"] * 2
    assert table["order"].tolist() == [1, 2, 3, 1, 2]
    for name, one in sets.items():
        rows = table[table["set"] == name]
        assert rows["stimulus"].tolist() == one["stimulus"].values.tolist()
        assert rows["reason"].tolist() == one["reason"].values.tolist()
    sets["high"] = sets["high"].assign(extra=("stimulus", [1, 2]))
    with pytest.raises(xc.SchemaError, match="'low' and 'high' have not the same columns: 'extra'"):
        write_selection(tmp_path / "odd.csv", sets)
    for wrong in ({}, ["low"]):
        with pytest.raises(TypeError, match="a dict of name to Dataset"):
            write_selection(tmp_path / "odd.csv", wrong)
    assert [p.name for p in tmp_path.iterdir()] == ["both.csv"]


def test_columns_of_criteria_and_of_sets(tmp_path):
    reps = make_reps(3, 20, 5, noise=1.0)
    both = {"rdm": xc.dispersion(reps, "rdm"), "knn": xc.dispersion(reps, "neighborhood", k=3)}
    chosen = xc.select_stimuli(both, 5)
    table = pd.read_csv(write_selection(tmp_path / "a.csv", chosen))
    assert {"value_rdm", "value_knn", "rank_rdm", "chosen_by_knn", "mean_rank"} <= set(table)
    assert "overlap" not in " ".join(table)
    found = xc.optimize_stimuli(reps, 5, leave_out="model", rng=0)
    table = pd.read_csv(write_selection(tmp_path / "b.csv", found))
    assert {"contribution", "reason", "stability", "caption", "category"} <= set(table)
    assert "agreement" not in table
    assert len(table) == 5


BACK = {"to_replace": r"^'('*[=+\-@\t\r])", "value": r"\1", "regex": True}
"""How a table whose formulas were escaped comes back, as the docstring says."""


def chosen_of(captions, **more):
    coords = {"stimulus": [f"s{i}" for i in range(len(captions))]}
    return xr.Dataset(
        {"value": ("stimulus", np.full(len(captions), -1.5)), **more},
        {**coords, "caption": ("stimulus", np.array(captions, dtype=object))},
    )


def test_formulas_are_written_as_they_are_with_a_warning(tmp_path):
    by = awkward()
    by["caption"].values[0] = "=HYPERLINK(1)"
    chosen = xc.select_stimuli(by, 1)
    told = r"formulas: 'caption of s0: =HYPERLINK\(1\)'; they are .* formulas=\"escape\" writes"
    with pytest.warns(RuntimeWarning, match=told):
        path = write_selection(tmp_path / "a.csv", chosen)
    assert pd.read_csv(path)["caption"].tolist() == ["=HYPERLINK(1)"]


@pytest.mark.parametrize(
    "text", ["=1+1", "+1+1", "-2+3", "@SUM(1)", "\t=1", "\r=1", "-", "=", "+a"]
)
def test_every_formula_is_named_and_escaped_on_request(tmp_path, text):
    chosen = chosen_of(["fine", text])
    with pytest.warns(RuntimeWarning, match="caption of s1: ") as caught:
        write_selection(tmp_path / "a.csv", chosen)
    assert "s0" not in str(caught[0].message)
    path = write_selection(tmp_path / "b.csv", chosen, formulas="escape")
    with path.open(encoding="utf-8", newline="") as file:
        assert [row["caption"] for row in csv.DictReader(file)] == ["fine", f"'{text}"]


@pytest.mark.parametrize("formulas", ["keep", "escape"])
def test_numbers_and_other_texts_are_no_formulas(tmp_path, formulas):
    texts = ["-1.5", "+2", "-1e-5", "-.5", "a=b", "'tis", "-1.", "", " =1", "1-1"]
    chosen = chosen_of(texts, other=("stimulus", np.arange(10) - 5))
    # no warning: it would be an error here
    path = write_selection(tmp_path / "a.csv", chosen, formulas=formulas)
    table = pd.read_csv(path, dtype={"caption": str}, keep_default_na=False)
    assert table["caption"].tolist() == texts
    assert (table["value"] == -1.5).all()
    assert table["other"].tolist() == list(range(-5, 5))


def test_names_of_columns_and_labels_are_cells_too(tmp_path):
    chosen = chosen_of(["a", "b"]).assign_coords({"=cmd": ("stimulus", ["c", "d"])})
    chosen = chosen.assign_coords(stimulus=["@x", "y"])
    with pytest.warns(RuntimeWarning, match=r"'the column =cmd', 'stimulus of @x: @x'"):
        write_selection(tmp_path / "a.csv", chosen)
    table = pd.read_csv(write_selection(tmp_path / "b.csv", chosen, formulas="escape"))
    assert "'=cmd" in table
    assert table["stimulus"].tolist() == ["'@x", "y"]
    with pytest.raises(ValueError, match="formulas='yes' is not known; choose one of keep, escape"):
        write_selection(tmp_path / "c.csv", chosen, formulas="yes")


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.sampled_from("=+-@\t\r\n'\"1.,e a")), min_size=1, max_size=6))
def test_every_text_comes_back_from_an_escaped_file(texts):
    with tempfile.TemporaryDirectory() as folder:
        path = write_selection(f"{folder}/a.csv", chosen_of(texts), formulas="escape")
        with path.open(encoding="utf-8", newline="") as file:
            written = [row["caption"] for row in csv.DictReader(file)]
        table = pd.read_csv(path, dtype={"caption": str}, keep_default_na=False).replace(**BACK)
    assert table["caption"].tolist() == texts
    risky = [t for t in written if t.startswith(tuple("=+-@\t\r"))]
    assert all(float(text) is not None for text in risky)


def test_what_is_no_table_of_stimuli(tmp_path):
    chosen = xc.select_stimuli(awkward(), 1)
    with pytest.raises(xc.SchemaError, match="two columns 'order'"):
        write_selection(tmp_path / "b.csv", chosen.assign_coords(order=("stimulus", [3])))
    with pytest.raises(xc.SchemaError, match="selection has no labels on 'stimulus'"):
        write_selection(tmp_path / "b.csv", xr.Dataset())
    with pytest.raises(xc.SchemaError, match="choose one with .sel"):
        write_selection(tmp_path / "b.csv", chosen.expand_dims(a=2, b=2))


def test_bytes_are_written_as_text(tmp_path):
    selection = xr.Dataset(
        {"value": ("stimulus", [0.1, 0.9])},
        {"stimulus": ["a", "b"], "path": ("stimulus", np.array([b"x", "\u00fc".encode()]))},
    )
    path = xc.io.write_selection(tmp_path / "m.csv", selection)
    assert pd.read_csv(path).path.tolist() == ["x", "\u00fc"]
