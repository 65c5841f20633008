"""Long runs: in blocks, with progress where somebody watches, and not lost when interrupted."""

import threading
import time

import dask.array as da
import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from xconverge.engine import progress
from xconverge.engine.progress import Report, in_blocks, side_by_side


def blocks(n=10, size=3):
    data = da.from_array(np.arange(n * size).reshape(n, size), chunks=(1, size))
    return xr.DataArray(data, dims=("block", "draw"))


@pytest.mark.parametrize("count", [1, 4, 100])
def test_blocks_are_computed_a_few_at_a_time_in_order(count, monkeypatch):
    monkeypatch.setattr(progress, "workers", lambda: (count, count))
    monkeypatch.setattr(progress, "QUICK", 0.0)
    told = []
    found = in_blocks(blocks(), "block", 3, 29, lambda done, total: told.append((done, total)))
    np.testing.assert_array_equal(found, np.arange(30).reshape(10, 3))
    assert [done for done, _ in told] == [min(29, (i + 4 * count) * 3 - 1)
                                          for i in range(0, 10, 4 * count)]  # fmt: skip
    assert {total for _, total in told} == {29}


def test_quick_blocks_are_computed_ever_more_at_a_time(monkeypatch):
    monkeypatch.setattr(progress, "workers", lambda: (1, 1))
    monkeypatch.setattr(progress, "QUICK", 100.0)
    told = []
    found = in_blocks(blocks(40), "block", 3, 119, lambda done, total: told.append(done))
    np.testing.assert_array_equal(found, np.arange(120).reshape(40, 3))
    assert told == [3 * 4 - 1, 3 * 12 - 1, 3 * 28 - 1, 119]


def test_an_interrupt_keeps_what_is_done(monkeypatch):
    monkeypatch.setattr(progress, "workers", lambda: (1, 1))
    monkeypatch.setattr(progress, "QUICK", 0.0)

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


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("total", "size"), [(0, 4), (1, 4), (10, 4), (49, 8), (150, 1)])
def test_numbers_are_worked_on_in_parts_of_one_size(total, size, threads):
    tasks, told = [], []

    def work(numbers):
        tasks.append(len(numbers))
        return [2 * number for number in numbers]

    found = side_by_side(work, total, size, lambda done, total: told.append((done, total)), threads)
    assert found == [2 * number for number in range(total)]
    assert sum(tasks) == total
    assert not tasks or 1 <= min(tasks) >= max(tasks) - 1
    assert max(tasks, default=0) <= size
    # no thread has a task less than another, where there are enough numbers
    assert len(tasks) % threads == 0 or len(tasks) == total
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1:] == [(total, total)] * bool(total)


def test_several_threads_work_side_by_side_and_one_here():
    meeting = threading.Barrier(2, timeout=60)
    names = side_by_side(
        lambda numbers: [(meeting.wait() and threading.current_thread().name) or "first"],
        2, 1, lambda done, total: None, 2,
    )  # fmt: skip
    assert len(names) == 2
    here = side_by_side(lambda _: [threading.current_thread()], 1, 1, lambda *_: None, 1)
    assert here == [threading.current_thread()]


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupt_tells_what_is_done(threads):
    def stop(done, total):
        if done > 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as interrupt:
        side_by_side(lambda numbers: list(numbers), 40, 2, stop, threads)
    assert interrupt.value.done == [0, 1, 2, 3]


@pytest.fixture
def _long_ago(monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    yield
    xc.set_options(progress=None)


@pytest.mark.usefixtures("_long_ago")
def test_progress_is_shown_where_somebody_watches(capsys, monkeypatch):
    for shown, asked in ((True, True), (False, False), (False, None)):
        xc.set_options(progress=asked)
        report = Report("draws")
        report(10, 40)
        report(40, 40)
        assert ("draws: 10 of 40" in capsys.readouterr().err) == shown
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    report(10, 40)
    assert "draws: 10 of 40" in capsys.readouterr().err


def test_what_is_left_is_estimated(monkeypatch, capsys):
    xc.set_options(progress=True)
    report = Report("calibrate cka")
    report(250, 1000)
    monkeypatch.setattr(time, "monotonic", lambda: report.begin + 10.0)
    report(500, 1000)
    xc.set_options(progress=None)
    assert "500 of 1,000, 10 s left" in capsys.readouterr().err


def test_short_runs_show_nothing(capsys):
    xc.set_options(progress=True)
    Report("draws")(10, 40)
    xc.set_options(progress=None)
    assert capsys.readouterr().err == ""
