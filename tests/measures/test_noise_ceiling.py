"""Noise ceilings against rsatoolbox and formulas, over subjects, repetitions and both."""

import warnings

import numpy as np
import pytest
import xarray as xr
from scipy.spatial.distance import squareform
from scipy.stats import rankdata

import xconverge as xc
from tests.helpers import no_compute
from tests.measures.rdms import THEIRS, flat, subjects, theirs
from xconverge.measures.rsa import METHODS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from rsatoolbox.inference.noise_ceiling import boot_noise_ceiling


@pytest.mark.filterwarnings("ignore:Noise ceiling for tau")
@pytest.mark.parametrize("method", METHODS)
def test_the_noise_ceiling_is_rsatoolboxs(method):
    rdms = subjects(5, 10)
    ceiling = xc.noise_ceiling(rdms, method)
    lower, upper = boot_noise_ceiling(theirs(rdms), method=THEIRS[method])
    assert float(ceiling["upper"]) == pytest.approx(float(upper), abs=1e-6)
    assert float(ceiling["lower"]) == pytest.approx(float(lower), abs=1e-6)
    assert float(ceiling["lower"]) < float(ceiling["upper"])


def test_the_noise_ceiling_by_hand_and_with_missing_stimuli():
    rdms = subjects(4, 10)
    rdms[0, 3] = rdms[0, :, 3] = np.nan
    fewer = rdms.drop_isel(stimulus=3, stimulus_2=3)
    values = [rankdata(squareform(v, checks=False)) for v in fewer.values]
    upper = np.mean([np.corrcoef(v, rankdata(sum(values)))[0, 1] for v in values])
    lower = np.mean([np.corrcoef(v, rankdata(sum(values) - v))[0, 1] for v in values])
    found = xc.noise_ceiling(rdms)
    assert float(found["upper"]) == pytest.approx(upper, rel=1e-12)
    assert float(found["lower"]) == pytest.approx(lower, rel=1e-12)


@pytest.mark.slow_after(4)
@pytest.mark.parametrize("bad", ["nothing", "two stimuli", "all equal"])
@pytest.mark.parametrize("method", METHODS)
def test_one_bad_subject_leaves_the_ceiling_of_the_others(method, bad):
    rdms = subjects(5, 10)
    right = xc.noise_ceiling(rdms.drop_isel(subject=1), method)
    rdms[1] = flat(10) * (0.0 if method == "cosine" else 0.7) if bad == "all equal" else np.nan
    if bad == "two stimuli":
        rdms[1, 3, 4] = rdms[1, 4, 3] = 1.0
    with pytest.warns(RuntimeWarning, match="leaves out subject 'p1', .* the 4 others") as record:
        found = xc.noise_ceiling(rdms, method)
    assert len(record) == 1
    for name in ("lower", "upper", "n_subjects", "n_stimuli"):
        assert float(found[name]) == float(right[name])
    assert (int(found["n_subjects"]), int(found["n_stimuli"])) == (4, 10)
    assert found.attrs["n_subjects"] == 5


def test_a_subject_that_is_flat_where_all_are_known_leaves_what_the_others_share():
    rdms = subjects(4, 10)
    rdms[1, :5, :5] = flat(5)
    for gone in (rdms[1, 5:], rdms[1, :, 5:]):
        gone[...] = np.nan
    with pytest.warns(RuntimeWarning, match="leaves out subject 'p1'"):
        found = xc.noise_ceiling(rdms)
    right = xc.noise_ceiling(rdms.drop_isel(subject=1))
    assert float(found["lower"]) == float(right["lower"])
    assert int(found["n_stimuli"]) == 10


def test_a_ceiling_says_on_how_many_stimuli_it_rests():
    rdms = subjects(4, 10)
    for subject, stimulus in ((0, 3), (1, 3), (2, 7)):
        rdms[subject, stimulus] = rdms[subject, :, stimulus] = np.nan
    found = xc.noise_ceiling(rdms)
    assert (int(found["n_subjects"]), int(found["n_stimuli"])) == (4, 8)
    rdms[0, :6] = rdms[0, :, :6] = np.nan
    rdms[1, 5:] = rdms[1, :, 5:] = np.nan
    with pytest.warns(RuntimeWarning, match="at least 3 pairs of stimuli .*; 0 stimuli have any"):
        found = xc.noise_ceiling(rdms)
    assert np.isnan(found["lower"])
    assert int(found["n_stimuli"]) == 0


def test_a_ceiling_of_one_subject_that_is_left_is_nan():
    rdms = subjects(3, 10)
    rdms[:2] = np.nan
    with pytest.warns(RuntimeWarning, match="'p0', 'p1', .* 1 others: NaN, 2 are needed"):
        found = xc.noise_ceiling(rdms)
    assert np.isnan(found["upper"])
    assert int(found["n_subjects"]) == 1


def test_a_bad_subject_of_one_region_is_told_with_it_when_computed():
    both = xr.concat([subjects(4, 10), subjects(4, 10, seed=1)], "region")
    both = both.assign_coords(region=["V1", "IT"])
    both[1, 2] = np.nan
    with no_compute():
        lazy = xc.noise_ceiling(both.chunk(region=1))
    with pytest.warns(RuntimeWarning, match=r"\(region 'IT'\) leaves out subject 'p2'"):
        found = lazy.compute(scheduler="synchronous")
    assert found["n_subjects"].values.tolist() == [4, 3]
    right = xc.noise_ceiling(both[1].drop_isel(subject=2))
    assert float(found["lower"][1]) == float(right["lower"])


def test_noise_ceiling_maps_over_extra_dims_and_stays_lazy():
    one, other = subjects(4, 10), subjects(4, 10, seed=1)
    both = xr.concat([one, other], "region")
    with no_compute():
        lazy = xc.noise_ceiling(both.chunk(region=1))
    np.testing.assert_allclose(lazy["upper"][1].compute(), xc.noise_ceiling(other)["upper"])
    with pytest.raises(xc.SchemaError, match="at least 2 subjects, got 1"):
        xc.noise_ceiling(one[:1])


def sessions(people=3, repetitions=3, n=10, seed=0):
    """RDMs (subject, repetition, …) that have something in common."""
    rows = subjects(people * repetitions, n, seed=seed)
    rows = rows + subjects(1, n, seed=99).isel(subject=0, drop=True)
    parts = [
        rows.isel(subject=slice(i * repetitions, (i + 1) * repetitions))
        .rename(subject="repetition")
        .assign_coords(repetition=[f"r{k}" for k in range(repetitions)])
        for i in range(people)
    ]
    return xr.concat(parts, "subject").assign_coords(subject=[f"p{i}" for i in range(people)])


@pytest.mark.parametrize("method", METHODS)
def test_a_ceiling_over_repetitions_is_that_of_as_many_subjects(method):
    rdms = sessions()
    found = xc.noise_ceiling(rdms, method, over="repetition")
    assert found["lower"].dims == ("subject",)
    assert found["n_repetitions"].values.tolist() == [3, 3, 3]
    assert found.attrs["n_repetitions"] == 3
    assert found.attrs["over"] == "repetition"
    right = xc.noise_ceiling(rdms[1].drop_vars("subject").rename(repetition="subject"), method)
    for name in ("lower", "upper", "n_stimuli"):
        assert float(found[name][1]) == float(right[name])


@pytest.mark.parametrize("order", [("subject", "repetition"), ["repetition", "subject"]])
def test_a_ceiling_over_both_by_hand(order):
    rdms = sessions().transpose("repetition", "stimulus", "subject", "stimulus_2")
    found = xc.noise_ceiling(rdms, "pearson", over=order)
    vectors = {}
    for s in range(3):
        for r in range(3):
            one = squareform(rdms.isel(subject=s, repetition=r).values, checks=False)
            vectors[s, r] = (one - one.mean()) / one.std()
    upper, lower = [], []
    for (s, r), own in vectors.items():
        others = [v for (t, q), v in vectors.items() if t != s and q != r]
        assert len(others) == 4
        upper.append(np.corrcoef(own, sum(vectors.values()))[0, 1])
        lower.append(np.corrcoef(own, sum(others))[0, 1])
    assert float(found["upper"]) == pytest.approx(np.mean(upper), rel=1e-12)
    assert float(found["lower"]) == pytest.approx(np.mean(lower), rel=1e-12)
    assert (int(found["n_subjects"]), int(found["n_repetitions"])) == (3, 3)
    mixed = rdms.isel(subject=[2, 0, 1], repetition=[1, 2, 0], stimulus=list(range(9, -1, -1)))
    again = xc.noise_ceiling(mixed, "pearson", over=order)
    np.testing.assert_allclose(again["lower"], found["lower"], rtol=1e-12)
    with no_compute():
        lazy = xc.noise_ceiling(rdms.chunk(subject=1, stimulus=4), "pearson", over=order)
    np.testing.assert_allclose(lazy["lower"], found["lower"], rtol=1e-12)


def test_a_measurement_that_is_missing_is_named_by_both():
    rdms = sessions(2, 2)
    rdms[1, 0] = np.nan
    both = ("subject", "repetition")
    # of the three others one has no other of another subject and repetition
    with pytest.warns(RuntimeWarning, match="subject 'p0', repetition 'r1'; subject 'p1', rep"):
        found = xc.noise_ceiling(rdms, "pearson", over=both)
    one, other = (squareform(rdm, checks=False) for rdm in (rdms[0, 0].values, rdms[1, 1].values))
    assert float(found["lower"]) == pytest.approx(np.corrcoef(one, other)[0, 1])
    assert (int(found["n_subjects"]), int(found["n_repetitions"])) == (2, 2)
    rdms[1] = np.nan
    with pytest.warns(RuntimeWarning, match="the . others: NaN, 2 are needed"):
        found = xc.noise_ceiling(rdms, over=both)
    assert np.isnan(found["upper"])


def test_what_a_ceiling_may_be_over():
    rdms = sessions()
    with pytest.raises(ValueError, match="over='model' is not known.*subject, repetition"):
        xc.noise_ceiling(rdms, over="model")
    with pytest.raises(ValueError, match=r"over must be one of subject, repetition, or both"):
        xc.noise_ceiling(rdms, over=())
    with pytest.raises(ValueError, match=r"over must be one of subject, repetition, or both"):
        xc.noise_ceiling(rdms, over=("subject", "subject"))
    with pytest.raises(xc.SchemaError, match="at least 2 repetitions, got 1"):
        xc.noise_ceiling(rdms[:, :1], over=("subject", "repetition"))
    with pytest.raises(xc.SchemaError, match="repetition"):
        xc.noise_ceiling(rdms[:, 0], over="repetition")
