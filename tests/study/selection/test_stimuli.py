"""Stimuli chosen by their values, against plain loops."""

import json
from collections import Counter

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import xconverge as xc
from tests.helpers import make_reps, shuffled
from xconverge.labels.joins import natural_rank
from xconverge.study.selection.stimuli import ordinal


def values(n=30, seed=0, **coords):
    """A value for each of n labels, in random order, with two categories and a size."""
    rng = np.random.default_rng(seed)
    names = np.array([f"s{i}" for i in range(n)], dtype=object)
    array = xr.DataArray(
        rng.standard_normal(n).round(1),
        dims="stimulus",
        coords={
            "stimulus": names,
            "kind": ("stimulus", np.array(["cat", "dog", "cat"], object)[np.arange(n) % 3]),
            "size": ("stimulus", rng.standard_normal(n)),
        },
        name="dispersion",
        attrs={"metric": "rdm"},
    )
    return shuffled(array.assign_coords(coords), seed + 1)


def in_order(array, which):
    """Labels from the end that is asked for, ties in natural order."""
    sign = -1 if which == "high" else 1
    pairs = [
        (sign * float(v), int(s[1:]), s)
        for s, v in zip(array["stimulus"].values, array.values, strict=True)
        if np.isfinite(v)
    ]
    return [label for *_, label in sorted(pairs)]


@pytest.mark.parametrize("which", ["low", "high"])
def test_the_lowest_and_highest(which):
    by = values()
    by[:3] = np.nan
    chosen = xc.select_stimuli(by, 7, which)
    assert chosen["stimulus"].values.tolist() == in_order(by, which)[:7]
    assert chosen["rank"].values.tolist() == list(range(1, 8))
    xr.testing.assert_equal(chosen["value"].variable, by.sel(stimulus=chosen["stimulus"]).variable)
    assert chosen["kind"].dims == ("stimulus",)
    first = float(chosen["value"][0])
    assert chosen["reason"].values[0] == f"1st {which}est of 27 by dispersion (rdm), {first:.3g}"
    assert chosen.attrs["n_eligible"] == 27
    json.dumps([chosen.attrs, *(one.attrs for one in chosen.data_vars.values())])


@pytest.mark.parametrize("which", ["low", "high", "random"])
def test_quotas(which):
    by = values()
    chosen = xc.select_stimuli(by, 6, which, groups="kind", quotas={"cat": 2, "dog": 4}, rng=0)
    assert Counter(chosen["kind"].values) == {"cat": 2, "dog": 4}
    if which != "random":
        for kind, count in (("cat", 2), ("dog", 4)):
            own = in_order(by.where(by["kind"] == kind), which)[:count]
            assert set(own) <= set(chosen["stimulus"].values)
    assert "kind 'dog': 4 of 4" in chosen["reason"].values[-1] + chosen["reason"].values[-2]
    same = xc.select_stimuli(by, 6, which, groups="kind", quotas=3, rng=0)
    assert Counter(same["kind"].values) == {"cat": 3, "dog": 3}
    given_values = by["kind"].drop_vars("kind")
    again = xc.select_stimuli(by.drop_vars("kind"), 6, which, groups=given_values, quotas=3, rng=0)
    assert again["stimulus"].values.tolist() == same["stimulus"].values.tolist()
    share = xc.select_stimuli(by, 6, which, groups="kind", rng=0)
    assert Counter(share["kind"].values) == {"cat": 4, "dog": 2}


def cell_counts(by, labels, bins):
    """Stimuli in every quantile bin of size and kind."""
    edges = np.quantile(by["size"], np.linspace(0, 1, bins + 1))[1:-1]
    one = by.sel(stimulus=labels)
    return Counter(zip(np.searchsorted(edges, one["size"]), one["kind"].values, strict=True))


def test_low_high_and_random_sets_are_matched_to_each_other():
    by = values(90)
    call = {"groups": "kind", "match": "size", "match_bins": 3, "rng": 0}
    sets = [
        xc.select_stimuli(by, 18, w, **call)["stimulus"].values for w in ("low", "high", "random")
    ]
    counts = [cell_counts(by, one, 3) for one in sets]
    assert counts[0] == counts[1] == counts[2]
    pool = cell_counts(by, by["stimulus"].values, 3)
    for cell, count in counts[0].items():
        assert abs(count - 18 * pool[cell] / 90) < 1
    assert not set(sets[0]) & set(sets[1])


def test_a_matched_control_set():
    by = values(90)
    low = xc.select_stimuli(by, 12, "low")
    call = {"match_to": low, "groups": "kind", "match": ["size"], "match_bins": 2}
    control = xc.select_stimuli(by, 12, "matched", rng=0, **call)
    assert not set(control["stimulus"].values) & set(low["stimulus"].values)
    own, other = (cell_counts(by, one["stimulus"].values, 2) for one in (low, control))
    assert own == other
    assert "from 78, matched to 12 stimuli; kind" in control["reason"].values[0]
    draws = {
        tuple(xc.select_stimuli(by, 12, "matched", rng=i, **call)["stimulus"].values)
        for i in range(5)
    }
    assert len(draws) == 5
    high = xc.select_stimuli(by, 12, "high", **call)
    assert cell_counts(by, high["stimulus"].values, 2) == own
    assert not set(high["stimulus"].values) & set(low["stimulus"].values)
    labels = list(low["stimulus"].values)
    same = xc.select_stimuli(by, 12, "matched", rng=0, **{**call, "match_to": labels})
    assert same["stimulus"].values.tolist() == control["stimulus"].values.tolist()
    half = by[by["kind"] == "cat"][:27]
    small = half.sortby("size")["stimulus"][:12]
    with pytest.raises(xc.SchemaError, match="kind 'cat', size bin 1 of 2: 12 wanted, 2 there"):
        xc.select_stimuli(half, 12, "matched", **{**call, "match_to": small})


def test_chosen_stimuli_are_apart():
    reps = make_reps(3, 40, 5)
    by = xc.dispersion(reps, "rdm")
    away = xc.rdm(reps, "euclidean").mean("model")
    least = float(np.quantile(away, 0.4))
    chosen = xc.select_stimuli(by, 5, distances=shuffled(away, 3), min_distance=least)
    expected = []
    for label in in_order(by, "low"):
        if all(float(away.sel(stimulus=label, stimulus_2=one)) >= least for one in expected):
            expected.append(label)
    assert chosen["stimulus"].values.tolist() == expected[:5]
    assert "from the others" in chosen["reason"].values[0]
    with pytest.raises(xc.SchemaError, match=rf"{len(expected)} of n=39 stimuli were found"):
        xc.select_stimuli(by, 39, distances=away, min_distance=least)
    gone = away.where((away["stimulus"] != expected[0]) & (away["stimulus_2"] != expected[0]))
    other = xc.select_stimuli(by, 5, distances=gone, min_distance=least)
    assert expected[0] not in other["stimulus"].values
    with pytest.raises(xc.SchemaError, match="distances has NaN"):
        xc.select_stimuli(by, 5, distances=away.where(away < least), min_distance=least)
    small = away[:5].sel(stimulus_2=away["stimulus"][:5].values)
    with pytest.raises(xc.SchemaError, match="dispersion has 40, distances has 5.*missing from"):
        xc.select_stimuli(by, 5, distances=small, min_distance=least)
    with pytest.raises(xc.SchemaError, match=r"alone, got \['model', "):
        xc.select_stimuli(by, 5, distances=xc.rdm(reps), min_distance=least)
    with pytest.raises(ValueError, match="go together"):
        xc.select_stimuli(by, 5, min_distance=least)


def test_several_criteria():
    a, b = values(seed=0), values(seed=5).drop_vars(["kind", "size"])
    b[2] = np.nan
    gone = str(b["stimulus"].values[2])
    chosen = xc.select_stimuli({"first": a, "second": b}, 8, "high")
    left = a.where(a["stimulus"] != gone)
    ranks = {
        name: {label: i + 1 for i, label in enumerate(in_order(one, "high"))}
        for name, one in (("first", left), ("second", b))
    }
    mean = {label: (rank + ranks["second"][label]) / 2 for label, rank in ranks["first"].items()}
    expected = sorted(mean, key=lambda label: (mean[label], int(label[1:])))[:8]
    assert chosen["stimulus"].values.tolist() == expected
    np.testing.assert_allclose(chosen["mean_rank"], [mean[label] for label in expected])
    for name, one in ranks.items():
        row = chosen.sel(criterion=name)
        assert row["rank"].values.tolist() == [one[label] for label in expected]
        assert row["chosen_by"].values.tolist() == [one[label] <= 8 for label in expected]
    own = [{label for label, rank in one.items() if rank <= 8} for one in ranks.values()]
    overlap = chosen["overlap"].sel(criterion="first", criterion_2="second")
    assert float(overlap) == len(own[0] & own[1]) / 8
    assert float(chosen["overlap"].sel(criterion="first", criterion_2="first")) == 1
    assert "mean rank" in chosen["reason"].values[0]
    same = xc.select_stimuli(xr.Dataset({"first": a, "second": b}), 8, "high")
    xr.testing.assert_allclose(same, chosen)
    with pytest.raises(ValueError, match="goes with one criterion"):
        xc.select_stimuli({"first": a, "second": b}, 8, "random")
    with pytest.raises(
        xc.SchemaError, match="dispersion 'first' and dispersion 'second' must have the same labels"
    ):
        xc.select_stimuli({"first": a, "second": b[:20]}, 8)
    first, second = xc.pair(a, b[:20], join="inner")
    inner = xc.select_stimuli({"first": first, "second": second}, 8)
    assert inner.attrs["n_dropped"] == 10


def test_how_stable_a_set_is_without_models():
    reps = make_reps(5, 40, [5, 6, 4, 5, 6])
    by, rest = xc.dispersion(reps, "rdm"), xc.dispersion(reps, "rdm", leave_out="model")
    call = {"groups": "category", "quotas": {"cat0": 3, "cat1": 4, "cat2": 3}}
    chosen = xc.select_stimuli(by, 10, without=shuffled(rest), **call)
    again = [
        set(xc.select_stimuli(row.drop_vars("model"), 10, **call)["stimulus"].values)
        for row in rest
    ]
    labels = chosen["stimulus"].values
    shares = [np.mean([label in one for one in again]) for label in labels]
    np.testing.assert_allclose(chosen["stability"], shares)
    stays = [np.mean([label in one for label in labels]) for one in again]
    np.testing.assert_allclose(chosen["overlap_without"], stays)
    assert chosen["overlap_without"]["model"].values.tolist() == reps["model"].values.tolist()
    with pytest.raises(ValueError, match="does not look at the values"):
        xc.select_stimuli(by, 10, "random", without=rest)
    with pytest.raises(ValueError, match="without goes with one criterion"):
        xc.select_stimuli({"a": by, "b": by}, 10, without=rest)
    with pytest.raises(xc.SchemaError, match="dispersion and without must have the same labels"):
        xc.select_stimuli(by, 10, without=rest[:, :30])


@given(st.data())
def test_order_and_chunks_change_nothing(data):
    by = values(40)
    which = data.draw(st.sampled_from(["low", "high", "random"]))
    call = {"groups": "kind", "match": "size", "match_bins": 2, "rng": 1}
    expected = xc.select_stimuli(by, 10, which, **call)
    other = shuffled(by, data.draw(st.integers(0, 100))).chunk(stimulus=7)
    xr.testing.assert_allclose(xc.select_stimuli(other, 10, which, **call), expected)


@pytest.mark.slow
def test_draws_are_uniform():
    by = values(12)
    counts = Counter()
    for seed in range(400):
        counts.update(xc.select_stimuli(by, 3, "random", rng=seed)["stimulus"].values)
    np.testing.assert_allclose([counts[f"s{i}"] / 400 for i in range(12)], 0.25, atol=0.09)


def test_missing_groups_and_values_are_never_chosen():
    by = values(20)
    by["kind"].values[:4] = None
    by["size"].values[4:8] = np.nan
    gone = set(by["stimulus"].values[:8])
    chosen = xc.select_stimuli(by, 12, groups="kind", match="size", match_bins=2)
    assert not gone & set(chosen["stimulus"].values)
    with pytest.raises(xc.SchemaError, match="n=13 stimuli are wanted, and 12 of 20 can be chosen"):
        xc.select_stimuli(by, 13, groups="kind", match="size", match_bins=2)
    nothing = (by["size"] * np.nan).rename("nothing")
    with pytest.raises(xc.SchemaError, match="n=2 stimuli are wanted, and 0 of 20 can be chosen"):
        xc.select_stimuli(by, 2, match=nothing)
    lost = by["stimulus"].values[4:8]
    with pytest.raises(xc.SchemaError, match="match_to holds stimuli without a value to match"):
        xc.select_stimuli(by, 4, "matched", match_to=lost, match="size")


def test_what_cannot_be_is_said():
    by = values()
    cases = [
        (ValueError, "which='lowest' is not known", {"which": "lowest"}),
        (ValueError, "n=0", {"n": 0}),
        (ValueError, "needs match_to", {"which": "matched"}),
        (ValueError, "quotas count the stimuli", {"quotas": 2}),
        (ValueError, "quotas must be counts that sum to n=6", {"groups": "kind", "quotas": 2}),
        (xc.SchemaError, "groups 'bird'", {"groups": "kind", "quotas": {"bird": 6}}),
        (xc.SchemaError, "kind 'dog': 11 stim", {"n": 11, "groups": "kind", "quotas": {"dog": 11}}),
        (xc.SchemaError, "groups='color' must be a coordinate", {"groups": "color"}),
        (xc.SchemaError, "match='color' must be a coordinate", {"match": "color"}),
        (ValueError, "n=6: match_to must hold as many", {"match_to": ["s1"]}),
        (xc.SchemaError, "match_to holds.*'nobody'", {"match_to": ["nobody"]}),
    ]
    for error, words, arguments in cases:
        with pytest.raises(error, match=words):
            xc.select_stimuli(by, **{"n": 6, **arguments})
    with pytest.raises(TypeError, match="must be an xarray.DataArray"):
        xc.select_stimuli({"a": 1}, 3)
    with pytest.raises(ValueError, match="dispersion has no criterion"):
        xc.select_stimuli({}, 3)
    with pytest.raises(xc.SchemaError, match="match must have one value for each label"):
        xc.select_stimuli(by, 3, match=by[:4].drop_vars("kind"))


def test_a_constraint_that_is_none_is_an_error_with_the_list():
    with pytest.raises(TypeError, match="no argument quota; constraints are groups, quotas, match"):
        xc.select_stimuli(values(), 3, quota=2)


def test_drawn_sets_say_their_seed():
    by = values()
    drawn = xc.select_stimuli(by, 6, "random")
    again = xc.select_stimuli(by, 6, "random", rng=drawn.attrs["seed"])
    xr.testing.assert_identical(drawn, again)
    assert "seed" not in xc.select_stimuli(by, 6).attrs


def test_numbers_in_words():
    words = ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "112th", "1,013th"]
    assert [ordinal(int(word[:-2].replace(",", ""))) for word in words] == words
    assert natural_rank(["s10", "s9"]).tolist() == [1, 0]
