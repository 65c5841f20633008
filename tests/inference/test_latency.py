"""When an effect begins and is largest: of tables whose answer is plain to see."""

import warnings

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from xconverge.inference.latency import p_name
from xconverge.testing import planted_recording

SECONDS = np.array([-0.1, 0.0, 0.1, 0.2, 0.3])


def table(rsa, p, time=SECONDS, name="rsa", p_name="p_value_cluster", **attrs):
    """A result over models and times, as calibrate_rsa gives it."""
    dims, coords = ("model_a", "time"), {"model_a": list("vwxyz")[: len(rsa)], "time": time}
    score = xr.DataArray(rsa, dims=dims, coords=coords, attrs={"kind": "similarity"})
    given = xr.Dataset({name: score}, attrs=attrs)
    return given.assign_coords({p_name: (dims, np.asarray(p, float))})


RSA = [[0.1, 0.2, 0.9, 0.3, 0.8], [0.0, 0.4, -0.7, 0.5, 0.1]]
P = [[0.5, 0.01, 1, 0.04, 0.05], [1, 1, 0.001, 0.001, np.nan]]


@pytest.mark.parametrize(
    ("tail", "peaks"), [("greater", [0.3, 0.2]), ("two-sided", [0.3, 0.1]), ("less", [0.0, 0.1])]
)
def test_first_and_most_extreme_significant_bin(tail, peaks):
    found = xc.latency(table(RSA, P, tail=tail))
    np.testing.assert_allclose(found["onset"], [0.0, 0.1])
    np.testing.assert_allclose(found["peak"], peaks)
    np.testing.assert_array_equal(found["n_significant"], [3, 2])
    assert found["onset"].attrs["kind"] == "value"
    assert found.attrs["correction"] == "cluster"
    stricter = xc.latency(table(RSA, P, tail=tail), alpha=0.02)
    np.testing.assert_allclose(stricter["onset"], [0.0, 0.1])
    np.testing.assert_allclose(stricter["n_significant"], [1, 2])


def test_of_a_distance_the_smallest_is_the_peak():
    given = table(RSA, P, name="alignment")
    given["alignment"].attrs["kind"] = "distance"
    np.testing.assert_allclose(xc.latency(given)["peak"], [0.0, 0.1])


@pytest.mark.parametrize(
    ("name", "p_name"),
    [
        ("mean_correlation", "mean_p_value_max_t"),
        ("correlation", "p_value_max_t"),
        ("correlation_of_mean", "p_value_max_t_of_mean"),
    ],
)
def test_every_score_has_p_values_of_its_own(name, p_name):
    given = table(RSA, P, name=name, p_name=p_name)
    expected = xc.latency(table(RSA, P))
    for score in (None, name):
        found = xc.latency(given, score, correction="max_t")
        xr.testing.assert_allclose(found, expected)
        assert found.attrs["score"] == name


def test_where_nothing_is_significant_there_is_nan_by_name():
    with pytest.warns(RuntimeWarning, match=r"no bin of 'rsa' has p_value_cluster up to 0.05 for "
                      r"'w': the latency is NaN") as told:  # fmt: skip
        found = xc.latency(table(RSA, [P[0], [1, 1, 0.2, 1, np.nan]]))
    assert told[0].filename == __file__
    np.testing.assert_array_equal(np.isnan(found["onset"]), [False, True])
    np.testing.assert_array_equal(np.isnan(found["peak"]), [False, True])
    one = table(RSA, np.ones((2, 5))).isel(model_a=0, drop=True)
    with pytest.warns(RuntimeWarning, match="up to 0.05: the latency is NaN"):
        assert np.isnan(xc.latency(one)["onset"].item())


def test_labels_of_time_are_kept():
    days = np.array(
        ["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-04", "2020-01-05"], "M8[ns]"
    )
    with pytest.warns(RuntimeWarning, match="NaN"):
        found = xc.latency(table(RSA, [P[0], np.ones(5)], days))
    assert found["onset"].values[0] == days[1]
    assert np.isnat(found["onset"].values[1])
    whole = xc.latency(table(RSA, P, [-100, 0, 100, 200, 300]))
    np.testing.assert_array_equal(whole["peak"], [300, 200])
    with pytest.raises(xc.SchemaError, match="numbers or dates, and has 'a', 'b'"):
        xc.latency(table(RSA, P, list("abcde")))
    with pytest.raises(xc.SchemaError, match="numbers or dates, and has none"):
        xc.latency(table(RSA, P).drop_vars("time"))


def test_a_lazy_table_gives_the_same():
    xr.testing.assert_identical(xc.latency(table(RSA, P).chunk()), xc.latency(table(RSA, P)))


def test_what_is_no_result_over_time_is_refused():
    with pytest.raises(xc.SchemaError, match="no score over 'time'"):
        xc.latency(table(RSA, P).isel(time=0))
    with pytest.raises(TypeError, match="table must be what.*returns; got"):
        xc.latency(table(RSA, P)["rsa"])
    with pytest.raises(xc.SchemaError, match="no 'p_value_max_t', the corrected p-values of 'rsa'"):
        xc.latency(table(RSA, P), correction="max_t")
    with pytest.raises(ValueError, match="correction='fdr' is not known"):
        xc.latency(table(RSA, P), correction="fdr")
    with pytest.raises(ValueError, match="score='alignment' is not known.*choose one of rsa"):
        xc.latency(table(RSA, P), "alignment")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_result_over_time_has_a_latency():
    study = planted_recording(2, n_stimuli=16, n_times=6, rng=0)
    models, brain = study["early"], study["brain"].mean("repetition", keep_attrs=True)
    one = brain.expand_dims(model=["brain"])
    spread, agreement = xc.dispersion(models, "rdm"), xc.alignment(models, one, "rdm")
    quick = {"n_permutations": 39, "rng": 0}
    effect = xc.modulation(spread, agreement, null="labels", n_bins=2, **quick)
    rdms = xc.rdm(models), xc.rdm(one)
    for result, score, dims in (
        (xc.calibrate(models, one, "procrustes", **quick), "alignment", ("model_a", "model_b")),
        (xc.calibrate_rsa(*rdms, **quick), "rsa", ("model_a", "model_b")),
        (xc.binned_rsa(models, brain, spread, 2, **quick), "rsa", ("bin",)),
        (effect, "correlation", ("model_a", "model_b")),
        (effect, "mean_correlation", ()),
        (effect, "correlation_of_mean", ()),
        (
            xc.cross_temporal_rsa(rdms[0].expand_dims(time=[0, 1]), rdms[1], **quick),
            "rsa", ("model_a", "model_b", "time_2"),
        ),
    ):  # fmt: skip
        found = xc.latency(result, score, alpha=0.3)
        assert set(found["onset"].dims) == set(dims)
        p_value = result[p_name(score, "cluster")]
        assert ((p_value <= 0.3).any("time") == found["onset"].notnull()).all()


@pytest.mark.slow
def test_planted_stages_begin_and_end_when_they_do():
    study = planted_recording(n_stimuli=30, n_times=26, rng=0)
    brain = xc.rdm(study["brain"].mean("repetition", keep_attrs=True))
    seconds = brain["time"].values
    for stage, begin in (("early", 0.05), ("late", 0.15)):
        result = xc.calibrate_rsa(xc.rdm(study[stage]), brain, n_permutations=199, rng=0)
        found = xc.latency(result, correction="max_t")
        assert (found["onset"] == seconds[seconds >= begin][0]).all()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            clusters = xc.latency(result)
        # a bin of noise before it may join a cluster
        assert (found["onset"] - clusters["onset"]).max() <= 0.021
