"""Reductions over blocks: what is read, what merges, and how faults are told."""

from itertools import pairwise

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps, no_compute
from xconverge.engine.blockwise import (
    Reduction,
    Sources,
    by_rows,
    is_long,
    reduce_models,
    reduce_rows,
    spans,
)
from xconverge.kernels.budgets import BUDGETS

pytestmark = pytest.mark.usefixtures("everything_is_long")

TOTAL = Reduction(lambda block, width: np.nansum(block[:, :width], axis=0).sum(), sum, np.asarray)


def lazy_set(n_models=2, n=60, width=4, chunk=10, missing=0.0):
    reps = make_reps(n_models, n, width, shared=False, missing=missing)
    return reps, reps.chunk(model=1, stimulus=chunk)


# --- blocks ------------------------------------------------------------------------------------


def test_blocks_are_whole_chunks():
    assert spans((3, 3, 3, 3), 6) == [slice(0, 6), slice(6, 12)]
    assert spans((3, 9, 1, 1), 6) == [slice(0, 3), slice(3, 12), slice(12, 14)]
    assert spans((5,), 2) == [slice(0, 5)]


def test_a_model_is_long_if_it_is_lazy_large_and_longer_than_wide(monkeypatch):
    reps, lazy = lazy_set()
    assert is_long(lazy)
    assert not is_long(reps)
    assert not is_long(lazy.chunk(stimulus=-1))
    assert not is_long(make_reps(2, 4, 9).chunk(stimulus=2))
    monkeypatch.setattr(BUDGETS, "whole_model", 60 * 4 * 8)
    assert not is_long(lazy)


# --- reductions --------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [None, {"layer": 2}])
def test_a_reduction_over_rows_is_that_of_the_whole(extra):
    reps = make_reps(3, 60, [4, 2, 3], shared=False, extra=extra)
    with no_compute():
        (found,) = reduce_rows(reps.chunk(stimulus=7, feature=3), TOTAL, [[]], {}, [float])
    expected = reps.sum(["stimulus", "feature"])
    np.testing.assert_allclose(found.transpose(*expected.dims), expected)
    assert found.chunks is not None
    (short,) = reduce_rows(reps, TOTAL, [[]], {}, [float])
    np.testing.assert_allclose(short.transpose(*expected.dims), expected)


def test_what_is_given_is_cut_to_the_block_and_parts_merge_in_order():
    _, lazy = lazy_set()
    number = xr.DataArray(np.arange(60), dims="stimulus")
    weight = xr.DataArray(np.array([2.0]), dims="_one")
    listed = Reduction(
        lambda block, width, mine, one: mine * one[0], np.concatenate, lambda found: found
    )
    found, twice = reduce_rows(
        lazy,
        Reduction(listed.part, listed.merge, lambda found: (found, 2 * found)),
        [["stimulus"]] * 2,
        {"stimulus": 60},
        [float] * 2,
        [number, weight],
    )
    np.testing.assert_array_equal(found, np.tile(2.0 * np.arange(60), (2, 1)))
    np.testing.assert_array_equal(twice, 2 * found)


def test_a_reduction_over_models_sees_all_of_them():
    reps, lazy = lazy_set(3)
    together = Reduction(
        lambda block, widths: block[:, :, : widths.min()].sum((0, 2)), np.concatenate, np.asarray
    )
    with no_compute():
        (found,) = reduce_models(lazy, together, [["stimulus"]], {"stimulus": 60}, [float])
    np.testing.assert_allclose(found, reps.sum(["model", "feature"]))


def test_rows_of_every_block_for_themselves():
    reps, lazy = lazy_set()
    parts = []

    def call(part):
        parts.append(part)
        return lazy.isel(stimulus=part) * 2

    found = by_rows(lazy, call)
    xr.testing.assert_identical(found.compute().drop_attrs(), (reps * 2).drop_attrs())
    assert all(one.stop == other.start for one, other in pairwise(parts))
    assert len(parts) > 2


def test_faults_are_told_with_labels():
    reps, _ = lazy_set()
    label = reps["stimulus"].values[33]

    def part(block, width):
        from xconverge.kernels.vectors import present

        return present(block[:, :width])

    reps[1, 33, 0] = np.nan
    (found,) = reduce_rows(
        reps.chunk(stimulus=10), Reduction(part, np.concatenate, np.asarray), [["stimulus"]],
        {"stimulus": 60}, [bool], what="mine",
    )  # fmt: skip
    with pytest.raises(xc.SchemaError, match=f"mine has NaN.*'net1', stimulus '{label}'"):
        found.compute()


def test_sources_name_their_models():
    reps = make_reps(2, 12, [4, 2], shared=False, extra={"layer": 2}).chunk()
    sources = Sources(reps, "reps")
    assert sources.shape == (2, 2)
    assert sources.names == ["net0", "net1"] * 2
    assert sources.positions == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert sources.widths == [4, 2, 4, 2]
    np.testing.assert_array_equal(sources.rows[2], reps.isel(layer=1, model=0))
