"""Pictures of stimuli, wherever they are."""

import zipfile

import numpy as np
import pytest

import xconverge as xc
from tests.plot.drawn import ODD, assert_legible

plot = pytest.importorskip("xconverge.plot")
plt = pytest.importorskip("matplotlib.pyplot")
image = pytest.importorskip("PIL.Image")


def pictures(labels):
    """One colour for each label."""
    return {
        label: np.full((6, 8, 3), (number * 9 % 256, 7, 9), np.uint8)
        for number, label in enumerate(labels)
    }


def cells(ax):
    """Where every picture is, (column, line), with its colour."""
    found = []
    for one in ax.images:
        left, right, bottom, top = one.get_extent()
        found.append(((left + right) / 2, (top + bottom) / 2, int(one.get_array()[0, 0, 0])))
    return found


def test_rows_are_wrapped(monkeypatch):
    images = pictures("abcdefg")
    ax = plot.stimuli(images, {"first": "abcde", "other": "fg"}, "All", columns=2)
    found = cells(ax)
    assert [x for x, *_ in found] == [0.5, 1.5, 0.5, 1.5, 0.5, 0.5, 1.5]
    np.testing.assert_allclose([y for _, y, _ in found], [0.5, 0.5, 1.5, 1.5, 2.5, 3.68, 3.68])
    assert [color for *_, color in found] == [0, 9, 18, 27, 36, 45, 54]
    assert ax.get_title() == "All"
    drawn = {text for text, *_ in assert_legible(ax.get_figure(), monkeypatch)}
    assert drawn == {"All", "first", "other"}


def test_pictures_keep_their_proportions():
    left, right, bottom, top = plot.stimuli(pictures("a"), {"x": "a"}).images[0].get_extent()
    np.testing.assert_allclose((right - left) / (bottom - top), 8 / 6)


@pytest.mark.slow
def test_captions_are_below_their_pictures(monkeypatch):
    images = pictures(ODD)
    words = {label: f"the caption of {i}" for i, label in enumerate(ODD)}
    for captions in (True, words):
        rows = {"a set with a name that is long": ODD, "none": []}
        ax = plot.stimuli(images, rows, "Title " * 30, captions=captions, columns=4)
        drawn = [text for text, *_ in assert_legible(ax.get_figure(), monkeypatch)]
        assert len(drawn) >= 2 + 9
    assert "the caption of\n3" in drawn


def test_files_are_read_from_a_folder_and_from_a_zip(tmp_path):
    labels = ["a b", "c.d 猫"]
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for label, array in pictures(labels).items():
            image.fromarray(array).resize((400, 300)).save(tmp_path / f"{label}.png")
            archive.write(tmp_path / f"{label}.png", f"inside/{label}.png")
    paths = {label: tmp_path / f"{label}.png" for label in labels}
    for images in (tmp_path, str(tmp_path / "all.zip"), paths):
        ax = plot.stimuli(images, {"x": labels})
        assert [color for *_, color in cells(ax)] == [0, 9]
        assert ax.images[0].get_array().shape == (120, 160, 4)


def test_what_is_no_picture_is_refused_by_name(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
        for folder in "ab":
            archive.write(tmp_path / "bad.png", f"{folder}/bad.png")
    for images, text in (
        (tmp_path, "'bad', 'bad.png'.*cannot identify"),
        ({"bad": tmp_path / "none.png"}, "'bad'.*No such file"),
    ):
        with pytest.raises(xc.SchemaError, match=text):
            plot.stimuli(images, {"r": ["bad"]})
    with pytest.raises(ValueError, match="two pictures of 'bad'"):
        plot.stimuli(tmp_path / "twice.zip", {"r": ["bad"]})
    with pytest.raises(ValueError, match="folder or a ZIP file"):
        plot.stimuli(tmp_path / "bad.png", {"r": ["bad"]})


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 3)), np.ones((3, 3, 1), bool), np.full((3, 3, 4), 0.5),
        np.full((400, 200, 3), 255.0), np.full((2, 2, 3), 300, np.int64),
    ],
)  # fmt: skip
def test_arrays_of_any_kind(array):
    ax = plot.stimuli({"a": array}, {"x": ["a"]})
    ax.get_figure().canvas.draw()
    assert max(ax.images[0].get_array().shape) <= 160


def test_what_can_not_be_shown_is_refused():
    images = pictures("ab")
    for arguments, options, error, text in (
        ((3, {"x": "a"}), {}, TypeError, "images must be a folder, a ZIP file, or a dict"),
        (({}, {"x": "a"}), {}, ValueError, "no picture of 'a'"),
        ((images, ["a"]), {}, TypeError, "rows must be a dict"),
        ((images, {"x": "ac"}), {}, ValueError, "no picture of 'c'"),
        ((images, {"x": "a" * 2001}), {}, ValueError, "2,001 stimuli.*2,000 at most"),
        ((images, {"x": "a"}, 3), {}, TypeError, "title must be text"),
        ((images, {"x": "a"}), {"columns": 0}, ValueError, "columns"),
        ((images, {"x": "a"}), {"captions": {"b": "b"}}, ValueError, "no text for 'a'"),
        ((images, {"x": "a"}), {"captions": "yes"}, TypeError, "captions must be True"),
        (({"a": np.ones((2, 2, 2))}, {"x": "a"}), {}, xc.SchemaError, "'a' must be an array"),
        (({"a": None}, {"x": "a"}), {}, xc.SchemaError, "'a' must be an array"),
    ):
        with pytest.raises(error, match=text):
            plot.stimuli(*arguments, **options)


def test_pictures_are_drawn_into_axes():
    _, ax = plt.subplots()
    assert plot.stimuli(pictures("ab"), {"x": "ab"}, ax=ax) is ax
    with pytest.raises(TypeError, match="ax must be one Axes"):
        plot.stimuli(pictures("ab"), {"x": "ab"}, ax=[ax])
