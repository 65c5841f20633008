"""Joins on labels, and their natural order."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import make_reps, shuffled
from tests.labels.rows import some
from xconverge import SchemaError
from xconverge.labels.joins import join_extra, join_labels, natural_rank
from xconverge.labels.messages import listing


def test_equal_labels_pass_through_untouched():
    a, b = make_reps(), make_reps(seed=0)
    left, right, dropped = join_labels(a, b)
    assert left is a
    assert right is b
    assert dropped == 0


def test_shuffled_labels_are_aligned_to_the_first():
    a = make_reps()
    b = shuffled(a, 3)
    left, right, dropped = join_labels(a, b)
    xr.testing.assert_identical(left, a)
    xr.testing.assert_identical(right, a)
    assert dropped == 0


def test_differing_labels_are_refused_with_counts_and_the_first_few():
    a = some(9, 2, labels=["both", *(f"a{i}" for i in range(8))])
    b = some(2, 2, labels=["both", "b0"])
    with pytest.raises(SchemaError) as caught:
        join_labels(a, b, names=("vision", "brain"))
    text = str(caught.value)
    assert "vision has 9, brain has 2, 1 are in both" in text
    assert "missing from brain: 'a0', 'a1', 'a2', 'a3', 'a4', … (8 in all)" in text
    assert "missing from vision: 'b0'" in text
    assert 'join="inner"' in text


def test_a_subset_is_not_exact():
    a = some(5, 2)
    with pytest.raises(SchemaError, match="missing from a: none"):
        join_labels(a, a[:3])


def test_inner_keeps_what_both_have_and_counts_the_rest():
    a, b = some(5, 2), some(4, 2, labels=["s9", "s4", "s1", "s3"], seed=1)
    left, right, dropped = join_labels(a, b, join="inner")
    assert left.stimulus.values.tolist() == ["s1", "s3", "s4"]
    assert right.stimulus.values.tolist() == ["s1", "s3", "s4"]
    assert dropped == 3
    np.testing.assert_array_equal(left, a.values[[1, 3, 4]])
    np.testing.assert_array_equal(right, b.values[[2, 3, 1]])


@pytest.mark.parametrize("join", ["exact", "inner"])
def test_disjoint_labels_are_refused_with_examples(join):
    a, b = some(3, 2), some(2, 2, labels=["dog.jpg", "cat.jpg"])
    with pytest.raises(SchemaError, match="'s0'.*'dog.jpg'"):
        join_labels(a, b, join=join)


def test_unknown_joins_are_refused():
    with pytest.raises(ValueError, match="join='outer'"):
        join_labels(some(2, 2), some(2, 2), join="outer")


def test_joins_are_lazy(raising_scheduler):
    a = make_reps()
    _, right, _ = join_labels(a, shuffled(a, 3).chunk(stimulus=4))
    assert right.chunks is not None


def test_listing_is_short():
    assert listing("ab") == "'a', 'b'"
    assert listing(range(7), 2) == "'0', '1', … (7 in all)"
    assert listing([]) == ""


def test_natural_order():
    labels = ["s10", "s2", "s1", "10", "9", "b", "a10b2", "a10b10", ""]
    order = [labels[i] for i in np.argsort(natural_rank(labels))]
    assert order == ["", "9", "10", "a10b2", "a10b10", "b", "s1", "s2", "s10"] or (
        sorted(order) == sorted(labels)
        and order.index("s1") < order.index("s2") < order.index("s10")
        and order.index("9") < order.index("10")
        and order.index("a10b2") < order.index("a10b10")
    )


@given(st.lists(st.text("sab019 ²٣", max_size=6), unique=True, max_size=12), st.randoms())
def test_natural_rank_does_not_know_positions(labels, random):
    rank = dict(zip(labels, natural_rank(labels), strict=True))
    assert sorted(rank.values()) == list(range(len(labels)))
    random.shuffle(labels)
    assert dict(zip(labels, natural_rank(labels), strict=True)) == rank


def test_numbers_rank_as_numbers():
    assert natural_rank([10, 9, 100]).tolist() == [1, 0, 2]


def test_times_that_differ_by_rounding_alone_are_said_to():
    seconds = np.arange(5) * 0.1
    a, b = (
        xr.DataArray(np.zeros(5), dims="time", coords={"time": labels})
        for labels in (seconds, np.linspace(0, 0.4, 5) * (1 + 1e-9))
    )
    with pytest.raises(SchemaError, match=r"4 of them differ by rounding alone, as 0\.1 and 0\.1000"
                       r".*round\(6\)") as told:  # fmt: skip
        join_extra(a, b, ("rdm_a", "rdm_b"))
    assert "keep those in both" in str(told.value)
    with pytest.raises(SchemaError) as told:
        join_extra(a, b.assign_coords(time=seconds + 0.05), ("rdm_a", "rdm_b"))
    assert "rounding" not in str(told.value)
