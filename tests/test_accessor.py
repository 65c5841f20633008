"""``reps.xc.NAME(…)`` is ``xconverge.NAME(reps, …)``."""

import inspect

import pytest
import xarray as xr

import xconverge as xc
from xconverge.accessor import AFTER_A_PATH, OF_ARRAYS
from xconverge.testing import planted_study


@pytest.fixture(scope="module")
def study():
    sets = planted_study(3, 30, rng=0)
    return xc.analyze(sets, k=5, n_bins=3, n_permutations=9, n_equal_noise=0, rng=0)


def test_each_function_is_there_with_its_help():
    reps = planted_study(3, 30, rng=0)["vision"]
    for name in OF_ARRAYS:
        function = getattr(xc, name)
        assert getattr(reps.xc, name).__doc__ == function.__doc__
        assert ("path" in inspect.signature(function).parameters) == (name in AFTER_A_PATH)
    assert {*OF_ARRAYS, "plot"} == set(dir(reps.xc))


def test_it_gives_what_the_function_gives(tmp_path):
    sets = planted_study(3, 30, rng=0)
    reps, other = sets["vision"], sets["language"]
    xr.testing.assert_identical(
        reps.xc.dispersion("neighborhood", k=5), xc.dispersion(reps, "neighborhood", k=5)
    )
    xr.testing.assert_identical(reps.xc.alignment(other, "cka"), xc.alignment(reps, other, "cka"))
    reps.xc.write_representations(tmp_path / "a.zarr", modality="vision")
    xr.testing.assert_equal(xc.open_representations(tmp_path / "a.zarr", "vision"), reps)
    with pytest.raises(AttributeError, match="no function 'disperson'.*dispersion"):
        _ = reps.xc.disperson


@pytest.mark.slow
def test_a_study_says_what_it_found(study, tmp_path):
    assert repr(study.xc).splitlines()[0] == "Study"
    assert "align better with language models" in repr(study.xc)
    assert "<li>" in study.xc._repr_html_()
    assert study.xc.findings() == xc.report.findings(study)
    assert study.xc.report(tmp_path / "r.html").exists()
    study.xc.write_study(tmp_path / "results.zarr")
    assert "modulation" in xc.open_store(tmp_path / "results.zarr").children
    assert "no study of analyze; groups: none" in repr(xr.DataTree(xr.Dataset()).xc)


@pytest.mark.slow
def test_figures_are_of_what_they_are_asked_of(study):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    ax = study["alignment/mutual_knn"].xc.plot.alignment_matrix()
    assert len(ax.get_yticklabels()) == 3
    with pytest.raises(AttributeError, match="no figure 'pie'.*alignment_matrix"):
        _ = study.xc.plot.pie
