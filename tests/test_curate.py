"""Curated sets, what residuals have in common, and selections as files."""

import csv
import stat

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps, shuffled
from xconverge.testing import planted_study


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
    inner = xc.exclude_high_dispersion(reps, spread[:10], share=0.2, missing="drop", join="inner")
    assert inner.attrs["n_dropped"] == 10
    with pytest.raises(ValueError, match="share=1"):
        xc.exclude_high_dispersion(reps, spread, 1)
    with pytest.warns(RuntimeWarning, match="does not come to one"):
        assert xc.exclude_high_dispersion(reps, by_label(reps), 0.01).sizes == reps.sizes
    reps["category"].values[0] = None
    with pytest.raises(xc.SchemaError, match="groups has no value for"):
        xc.exclude_high_dispersion(reps, by_label(reps), groups="category")
    with pytest.raises(xc.SchemaError, match="array has no dim 'stimulus'"):
        xc.exclude_high_dispersion(reps.rename(stimulus="item"), spread)


def test_the_component_is_that_of_a_plain_decomposition():
    study = planted_study(n_models=5, rng=0)
    space = xc.shared_space(study["vision"])
    odd = xc.residual_component(space["residual"])
    x = space["residual"].values.T
    values, axes = np.linalg.eigh(np.cov(x.T))
    scores = (x - x.mean(0)) @ axes[:, -1]
    total = np.sqrt((x**2).sum(1))
    scores *= np.sign(np.corrcoef(scores, total)[0, 1])
    np.testing.assert_allclose(odd, scores, atol=1e-12)
    assert odd.attrs["explained"] == pytest.approx(values[-1] / values.sum())
    assert np.corrcoef(odd, xc.dispersion(space["aligned"], "consensus"))[0, 1] > 0.9
    again = xc.residual_component(shuffled(space["residual"]).chunk(stimulus=7))
    xr.testing.assert_allclose(again.sel(stimulus=odd["stimulus"]), odd)
    both = {"component": odd, "consensus": xc.dispersion(space["aligned"], "consensus")}
    chosen = xc.select_stimuli(both, 20, "high")
    assert float(chosen["overlap"][0, 1]) > 0.5


def test_a_component_of_too_little():
    residual = xr.DataArray(
        np.abs(np.random.default_rng(0).standard_normal((3, 6))),
        dims=("model", "stimulus"),
        coords={"model": list("abc"), "stimulus": [f"s{i}" for i in range(6)]},
    )
    hole = residual.copy()
    hole[1, 2] = np.nan
    found = xc.residual_component(hole)
    assert found.isnull().values.tolist() == [False, False, True, False, False, False]
    for few in (hole[:, 1:4], residual * 0 + 1):
        with pytest.warns(RuntimeWarning, match="at least 3 stimuli"):
            assert xc.residual_component(few).isnull().all()
    with pytest.raises(xc.SchemaError, match="at least 2 models"):
        xc.residual_component(residual[:1])
    with pytest.raises(xc.SchemaError, match="'layer'"):
        xc.residual_component(residual.expand_dims(layer=2))


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
    path = xc.write_selection(tmp_path / "high.csv", chosen)
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
        xc.write_selection(path, chosen)
    few = xc.select_stimuli(by, 2)
    xc.write_selection(str(path), few, overwrite=True)
    assert len(pd.read_csv(path)) == 2


def test_a_file_that_fails_leaves_nothing(tmp_path, monkeypatch):
    chosen = xc.select_stimuli(awkward(), 2)
    path = xc.write_selection(tmp_path / "a.csv", chosen)
    before = path.read_bytes()

    def broken(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(pd.DataFrame, "to_csv", broken)
    with pytest.raises(OSError, match="disk full"):
        xc.write_selection(path, chosen, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]
    assert path.read_bytes() == before


def test_columns_of_criteria_and_of_sets(tmp_path):
    reps = make_reps(3, 20, 5, noise=1.0)
    both = {"rdm": xc.dispersion(reps, "rdm"), "knn": xc.dispersion(reps, "neighborhood", k=3)}
    chosen = xc.select_stimuli(both, 5)
    table = pd.read_csv(xc.write_selection(tmp_path / "a.csv", chosen))
    assert {"value_rdm", "value_knn", "rank_rdm", "chosen_by_knn", "mean_rank"} <= set(table)
    assert "overlap" not in " ".join(table)
    found = xc.optimize_stimuli(reps, 5, leave_out="model", rng=0)
    table = pd.read_csv(xc.write_selection(tmp_path / "b.csv", found))
    assert {"contribution", "reason", "stability", "caption", "category"} <= set(table)
    assert "agreement" not in table
    assert len(table) == 5


def test_formulas_are_written_as_they_are_with_a_warning(tmp_path):
    by = awkward()
    by["caption"].values[0] = "=HYPERLINK(1)"
    chosen = xc.select_stimuli(by, 1)
    with pytest.warns(RuntimeWarning, match=r"formulas: 'caption: =HYPERLINK\(1\)'"):
        path = xc.write_selection(tmp_path / "a.csv", chosen)
    assert pd.read_csv(path)["caption"].tolist() == ["=HYPERLINK(1)"]
    with pytest.raises(xc.SchemaError, match="two columns 'order'"):
        xc.write_selection(tmp_path / "b.csv", chosen.assign_coords(order=("stimulus", [3])))
    with pytest.raises(xc.SchemaError, match="selection has no labels on 'stimulus'"):
        xc.write_selection(tmp_path / "b.csv", xr.Dataset())
    with pytest.raises(xc.SchemaError, match="choose one with .sel"):
        xc.write_selection(tmp_path / "b.csv", chosen.expand_dims(a=2, b=2))
