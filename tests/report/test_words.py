"""Tables, findings and the methods paragraph say what the study holds."""

import re

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from xconverge.report import findings, methods, tables
from xconverge.report.tables import p_text
from xconverge.testing import planted_study


@pytest.fixture(scope="module")
def study():
    sets = planted_study(4, 40, rng=0)
    brain = xc.rdm(sets["language"][0])
    return xc.analyze(
        sets, k=5, n_bins=3, rsa_bins=2, target=brain, n_permutations=9, n_equal_noise=19, rng=0
    )


@pytest.mark.slow
def test_tables_hold_the_numbers(study):
    found = {table.title: table for table in tables(study)}
    table = found["Mean mutual-kNN of vision with language models"]
    scores = study["alignment/mutual_knn"].mean("stimulus")
    for row in table.rows:
        for name, cell in zip(table.columns[1:], row[1:], strict=True):
            assert float(cell) == pytest.approx(
                float(scores.sel(model_a=row[0], model_b=name)), abs=6e-4
            )
    for table in found.values():
        assert {len(row) for row in table.rows} == {len(table.columns)}, table.title
    left = found["Each model left out of its dispersion"]
    expected = study["leave_out/correlation"].mean("model_b").sel(control="local_density")
    assert [float(row[3]) for row in left.rows] == pytest.approx(expected.values, abs=6e-4)


def test_a_p_value_has_a_cell_of_its_own(study):
    table = tables(study)[1]
    effect = study["modulation"].to_dataset()
    p_values = effect["p_value_of_mean"]
    assert table.columns[:5] == [
        "dispersion",
        "as it is",
        "p as it is",
        "given norm",
        "p given norm",
    ]
    for row, measure in zip(table.rows, effect["measure"].values, strict=True):
        assert len(row) == 9
        cells = [p_text(float(p)) for p in p_values.sel(measure=measure).values]
        assert row[2::2] == cells
        told = effect["correlation_of_mean"].sel(measure=measure).values
        assert [float(cell) for cell in row[1::2]] == pytest.approx(told, abs=6e-4)


def test_findings_lead_with_what_may_be_said(study):
    first, by_bin, correlation, excess, brain = findings(study)
    assert first.lower().startswith(study.attrs["conclusion"][:40].lower())
    means = study["modulation/alignment_by_bin_of_mean"].sel(control="none", measure="neighborhood")
    low, high = (f"{float(value):.3f}" for value in means.values[[0, -1]])
    assert low in by_bin and high in by_bin  # noqa: PT018
    effect = study["modulation/correlation_of_mean"].sel(measure="neighborhood")
    for control in ("none", "local_density", "both"):
        assert f"{float(effect.sel(control=control)):+.3f}" in correlation
    assert f"{float(study['equal_noise/excess']):+.3f}" in excess
    assert len(re.findall(r"\(p = [\d.]+, \d+ stimuli\)", brain)) == 2
    assert "cannot be told without trials" in brain


@pytest.mark.slow
def test_a_study_of_few_models_claims_nothing():
    few = xc.analyze(planted_study(2, 30, rng=0), k=5, n_bins=3, n_permutations=0, rng=0)
    assert "at least four vision models" in findings(few)[0]
    assert "equal noise" not in methods(few)
    assert all(np.isfinite(len(table.rows)) for table in tables(few))


@pytest.mark.parametrize("agree", [0.02, 0.6])
def test_repetitions_that_do_not_agree_are_told(study, agree):
    told = study["rsa"].to_dataset()
    trials = study.copy()
    trials["rsa"] = xr.DataTree(told.assign(split_half=("bin", [np.nan, agree])))
    said = findings(trials)[-1]
    assert f"+{agree:.3f}" in said
    assert ("agree so little" in said) == (agree < 0.1)


def test_the_sign_is_not_taken_for_granted(study):
    turned = study.copy()
    effect = study["modulation"].to_dataset()
    means = effect["alignment_by_bin_of_mean"].transpose(..., "bin")
    effect["alignment_by_bin_of_mean"] = means.copy(data=means.values[..., ::-1])
    turned["modulation"] = xr.DataTree(effect)
    assert "align worse with language models" in findings(turned)[1]
    assert "times as much" not in findings(turned)[1]
    empty = effect.assign(alignment_by_bin_of_mean=effect["alignment_by_bin_of_mean"] * np.nan)
    turned["modulation"] = xr.DataTree(empty)
    assert "too few values for bins" in findings(turned)[1]


def test_methods_say_how_it_was_done(study):
    text = methods(study)
    assert "4 vision models with 4 language models on 40 stimuli" in text
    assert "19 draws of models with equal noise" in text
    assert f"xconverge {xc.__version__} (seed 0)" in text
    assert "in 2 bins of neighbourhood dispersion (20, 20 stimuli)" in text
    assert "2604.21836" in text


@pytest.mark.parametrize(
    ("p", "text"), [(0.0321, "0.032"), (4e-5, "4e-05"), (1.0, "1.000"), (np.nan, "—")]
)
def test_a_p_value_is_never_nothing(p, text):
    assert p_text(p) == text
