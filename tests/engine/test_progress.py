"""Long runs: in blocks, with progress where somebody watches, and not lost when interrupted."""

import time

import dask.array as da
import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from xconverge.engine import progress
from xconverge.engine.progress import Report, in_blocks


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


@pytest.mark.parametrize("asked", [None, False])
def test_nothing_is_shown_where_nobody_watches(asked, monkeypatch, capsys):
    xc.set_options(progress=asked)
    monkeypatch.delitem(__import__("sys").modules, "ipykernel", raising=False)
    report = after_ten_seconds(monkeypatch)
    report(500, 1000)
    report(1000, 1000)
    assert capsys.readouterr().err == ""


def test_a_terminal_is_somebody_who_watches(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    after_ten_seconds(monkeypatch)(500, 1000)
    assert "500 of 1,000" in capsys.readouterr().err


def blocks(n=10, size=3):
    data = da.from_array(np.arange(n * size).reshape(n, size), chunks=(1, size))
    return xr.DataArray(data, dims=("block", "draw"))


@pytest.mark.parametrize("count", [1, 4, 100])
def test_blocks_are_computed_a_few_at_a_time_in_order(count, monkeypatch):
    monkeypatch.setattr(progress, "workers", lambda: (count, count))
    told = []
    found = in_blocks(blocks(), "block", 3, 29, lambda done, total: told.append((done, total)))
    np.testing.assert_array_equal(found, np.arange(30).reshape(10, 3))
    assert [done for done, _ in told] == [min(29, (i + 4 * count) * 3 - 1)
                                          for i in range(0, 10, 4 * count)]  # fmt: skip
    assert {total for _, total in told} == {29}


def test_an_interrupt_keeps_what_is_done(monkeypatch):
    monkeypatch.setattr(progress, "workers", lambda: (1, 1))

    def stop(done, total):
        if done > 12:
            raise KeyboardInterrupt

    with pytest.warns(RuntimeWarning, match="rests on the 23 of 29"):
        found = in_blocks(blocks(), "block", 3, 29, stop)
    assert found.sizes["block"] == 8


def test_an_interrupt_before_anything_is_done_is_one(monkeypatch):
    def stop(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(xr.DataArray, "compute", stop)
    with pytest.raises(KeyboardInterrupt):
        in_blocks(blocks(), "block", 3, 29, lambda done, total: None)
