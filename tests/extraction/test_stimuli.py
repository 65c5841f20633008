"""Where stimuli come from."""

import shutil

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xconverge as xc
from tests.extraction.stimuli import LABELS, TEXTS
from xconverge.extraction.stimuli import stimuli_of

CSV = (
    'id,caption,image_id,year\nc1,A cat sleeps.,cat,2001\nc2,"A cat, still",cat,2002\nc3,rain,,1\n'
)


def texts_of(found):
    return {label: found.read(label) for label in found.names}


def test_images_of_a_folder_an_archive_and_a_url(folder, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "photos"), "zip", folder)
    sources = [folder, str(folder), archive, f"zip://::{archive}", f"file://{folder}"]
    found = [stimuli_of(source) for source in sources]
    for one in found:
        assert (one.kind, sorted(one.names)) == ("images", LABELS)
        np.testing.assert_array_equal(one.read(LABELS[0]), found[0].read(LABELS[0]))


def test_a_tilde_is_the_home_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert sorted(stimuli_of(f"~/{folder.name}").names) == LABELS


def test_folders_that_cannot_be(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    with pytest.raises(FileNotFoundError, match="there are no images in"):
        stimuli_of(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no folder or file"):
        stimuli_of(tmp_path / "none")
    with pytest.raises(xc.SchemaError, match="named by their files"):
        stimuli_of(tmp_path, "id")
    Image.new("L", (9, 9)).save(tmp_path / "a.png")
    Image.new("L", (9, 9)).save(tmp_path / "a.gif")
    with pytest.raises(xc.SchemaError, match=r"a.png and .*a.gif would have one label, 'a'"):
        stimuli_of(tmp_path)


def test_texts_of_a_column_and_what_the_others_say(tmp_path):
    (tmp_path / "c.csv").write_text(CSV, "utf-8")
    found = stimuli_of(f"{tmp_path / 'c.csv'}:caption")
    assert found.kind == "texts"
    assert texts_of(found) == {"c1": "A cat sleeps.", "c2": "A cat, still", "c3": "rain"}
    coords = found.labels.coords
    assert coords["image_id"].values.tolist() == ["cat", "cat", ""]
    assert coords["year"].values.tolist() == [2001, 2002, 1]
    assert coords["caption"].values.tolist() == list(texts_of(found).values())


def test_paths_of_a_column_are_relative_to_the_table(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "in")
    rows = [f"{i},in/photo {i:02d}.{['png', 'PNG', 'webp', 'tiff'][(i + 2) % 4]}" for i in range(4)]
    (tmp_path / "t.tsv").write_text(
        "\n".join(["stimulus\tfile", *rows]).replace(",", "\t"), "utf-8"
    )
    found = stimuli_of(f"{tmp_path / 't.tsv'}:file")
    assert (found.kind, found.names) == ("images", ["0", "1", "2", "3"])
    inside = stimuli_of(folder)
    for label in found.names:
        np.testing.assert_array_equal(found.read(label), inside.read(f"photo {int(label):02d}"))


@pytest.mark.parametrize(
    ("column", "ids", "said"),
    [
        ("", None, "say which column holds the stimuli; its columns are 'id', 'caption'"),
        (":text", None, "no column 'text'; its columns are"),
        (":caption", "label", "no column 'label' that names its rows"),
        (":image_id", None, "something in every row of 'image_id'; it has nothing in rows '4'"),
        (":caption", "image_id", "in every row of 'image_id'"),
    ],
)
def test_columns_that_are_not_there(tmp_path, column, ids, said):
    (tmp_path / "c.csv").write_text(CSV, "utf-8")
    with pytest.raises(xc.SchemaError, match=said):
        stimuli_of(f"{tmp_path / 'c.csv'}{column}", ids)


def test_tables_that_cannot_be(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("caption\na\n")
    with pytest.raises(xc.SchemaError, match="no column 'stimulus', 'stimulus_id', 'id' that"):
        stimuli_of(f"{path}:caption")
    path.write_text("id,caption,layer\n1,a,b\n")
    with pytest.raises(xc.SchemaError, match="columns 'layer', names that the store needs"):
        stimuli_of(f"{path}:caption")
    path.write_text("id,caption\n1,a\n1,b\n")
    with pytest.raises(xc.SchemaError, match="'1' more than once"):
        stimuli_of(f"{path}:caption")


def test_lines(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("a cat\nein Hund é\n", "utf-8")
    assert texts_of(stimuli_of(path)) == {"a cat": "a cat", "ein Hund é": "ein Hund é"}
    (tmp_path / "ids.txt").write_text("1\n2\n")
    found = stimuli_of(path, str(tmp_path / "ids.txt"))
    assert texts_of(found) == {"1": "a cat", "2": "ein Hund é"}
    assert found.labels.text.values.tolist() == ["a cat", "ein Hund é"]
    (tmp_path / "ids.txt").write_text("1\n2\n3\n")
    with pytest.raises(xc.SchemaError, match="has 2 lines, and .* has 3 ids"):
        stimuli_of(path, str(tmp_path / "ids.txt"))
    path.write_text("a\n\nb\n")
    with pytest.raises(xc.SchemaError, match="blank lines: '2'; it must have one text a line"):
        stimuli_of(path)


def test_objects():
    given = pd.Series(TEXTS)
    about = xr.DataArray(
        list(TEXTS.values()), {"stimulus": list(TEXTS), "n": ("stimulus", range(5))}, ["stimulus"]
    )
    for one in (TEXTS, given, about):
        assert texts_of(stimuli_of(one)) == TEXTS
    assert stimuli_of(about).labels.n.values.tolist() == [0, 1, 2, 3, 4]
    assert stimuli_of(pd.Series(["a", "b"], index=[1, 2])).names == ["1", "2"]
    arrays = {"a": np.zeros((2, 2)), "b": np.ones((2, 2))}
    assert stimuli_of(arrays).kind == "arrays"


def test_paths_and_images(folder):
    Image = pytest.importorskip("PIL.Image")
    path = folder / "photo 00.webp"
    for given in (path, str(path), Image.open(path)):
        found = stimuli_of({"a": given})
        assert found.kind == "images"
        assert found.read("a").size == stimuli_of(folder).read("photo 00").size
    # all must look like paths: a text may end so
    assert stimuli_of({"a": "cat.png", "b": "a cat"}).kind == "texts"


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (3, TypeError, "stimuli must be a folder, a ZIP file or a URL"),
        (["a cat"], TypeError, "stimuli must be a folder"),
        (xr.DataArray(["a cat"], dims="stimulus"), TypeError, "stimuli must be a folder"),
        (pd.DataFrame({"a": [1]}), TypeError, "stimuli must be a folder"),
        ({}, xc.SchemaError, "stimuli is empty"),
        ({"a": "x", "b": np.zeros(3)}, xc.SchemaError, "has texts .'a'. and arrays .'b'."),
        ({"a": " "}, xc.SchemaError, "the text of 'a' is empty"),
        ({"a": None}, xc.SchemaError, "stimulus 'a' must be a text, a path"),
        (pd.Series(["x", "y"], index=["a", "a"]), xc.SchemaError, "'a' more than once"),
        ({1.5: "x"}, xc.SchemaError, "must be text or whole numbers"),
        (xr.DataArray(["x"], {"stimulus": ["a"], "layer": ("stimulus", [1])}, ["stimulus"]),
         xc.SchemaError, "coordinates 'layer', names that the store needs"),
    ],
)  # fmt: skip
def test_objects_that_cannot_be(given, error, said):
    with pytest.raises(error, match=said):
        stimuli_of(given)


def test_ids_are_of_tables():
    with pytest.raises(TypeError, match="ids are for tables and text files"):
        stimuli_of(TEXTS, "id")
