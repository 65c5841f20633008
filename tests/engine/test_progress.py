"""When long calls say how far they are."""

import time

import pytest

import xconverge as xc
from xconverge.engine.progress import Report


@pytest.fixture(autouse=True)
def _as_before():
    yield
    xc.set_options(progress=None)


def after_ten_seconds(monkeypatch):
    report = Report("calibrate cka")
    report(250, 1000)
    monkeypatch.setattr(time, "monotonic", lambda: report.begin + 10.0)
    return report


def test_progress_is_shown_after_a_while(monkeypatch, capsys):
    xc.set_options(progress=True)
    report = after_ten_seconds(monkeypatch)
    assert capsys.readouterr().err == ""
    report(500, 1000)
    report(1000, 1000)
    assert "500 of 1,000, 10 s left" in capsys.readouterr().err


@pytest.mark.parametrize("progress", [None, False])
def test_nothing_is_shown_where_nobody_watches(progress, monkeypatch, capsys):
    xc.set_options(progress=progress)
    monkeypatch.delitem(__import__("sys").modules, "ipykernel", raising=False)
    report = after_ten_seconds(monkeypatch)
    report(500, 1000)
    report(1000, 1000)
    assert capsys.readouterr().err == ""
