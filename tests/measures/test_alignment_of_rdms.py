"""Agreement of RDMs that were made elsewhere, row by row: trials by stimulus."""

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps, no_compute, shuffled


def brain(repetitions=4, n=12, p=20, subjects=3, noise=0.5, seed=0):
    rng = np.random.default_rng(seed)
    signal = rng.standard_normal((subjects, 1, n, p))
    x = signal + noise * rng.standard_normal((subjects, repetitions, n, p))
    return xr.DataArray(
        x,
        dims=("subject", "repetition", "stimulus", "feature"),
        coords={
            "subject": [f"S{i}" for i in range(subjects)],
            "stimulus": [f"s{i}" for i in range(n)],
        },
    )


@pytest.mark.slow
def test_plain_loops():
    models = xc.rdm(make_reps(2, 12, 6), "sqeuclidean")
    rdms = xc.rdm(brain(), "crossnobis")
    rdms = rdms.copy()
    rdms[1, 4], rdms[1, :, 4] = np.nan, np.nan
    models = models.assign_coords(stimulus=rdms.stimulus, stimulus_2=rdms.stimulus_2)
    found = xc.alignment(models, rdms, "rdm")
    assert found.dims == ("subject", "model_a", "stimulus")
    for s in range(3):
        for m in range(2):
            for i in range(12):
                others = [j for j in range(12) if j != i and not np.isnan(rdms[s, i, j])]
                one, other = models.values[m, i, others], rdms.values[s, i, others]
                expected = np.corrcoef(one, other)[0, 1] if len(others) > 2 else np.nan
                np.testing.assert_allclose(found.values[s, m, i], expected, rtol=1e-10)


def test_rdms_give_what_their_representations_give():
    a, b = make_reps(3, 20, 6, missing=0.1), make_reps(2, 20, 4, shared=False)
    expected = xc.alignment(a, b, "rdm", rdm_metric="euclidean")
    rdms = xc.rdm(a, "euclidean")
    for sides in ((rdms, xc.rdm(b, "euclidean")), (rdms, b), (a, xc.rdm(b, "euclidean"))):
        found = xc.alignment(*sides, "rdm", rdm_metric="euclidean")
        np.testing.assert_allclose(found, expected, rtol=1e-8)
        assert found.dims == expected.dims
    with no_compute():
        lazy = xc.alignment(rdms.chunk(model=1), b, "rdm", rdm_metric="euclidean")
    np.testing.assert_allclose(lazy.compute(), expected, rtol=1e-8)
    again = xc.alignment(shuffled(rdms), b, "rdm", rdm_metric="euclidean")
    again = again.sel(stimulus=expected["stimulus"], model_a=expected["model_a"])
    np.testing.assert_allclose(again, expected, rtol=1e-8)


def test_trials_are_related_to_dispersion_with_subjects_as_a_sample():
    trials = brain(n=30, p=30, noise=1.0)
    signal = trials.mean(["repetition", "subject"]).values
    rng = np.random.default_rng(1)
    by = rng.random(30)
    models = xc.stack_models(
        {f"m{i}": signal + by[:, None] * rng.standard_normal(signal.shape) for i in range(4)},
        stimuli=trials["stimulus"].values,
    )
    rdms = xc.rdm(trials, "crossnobis").rename(subject="model")
    agreement = xc.alignment(models, rdms, "rdm", rdm_metric="sqeuclidean")
    assert agreement.dims == ("model_a", "model_b", "stimulus")
    spread = xr.DataArray(by, dims="stimulus", coords={"stimulus": trials["stimulus"].values})
    table = xc.modulation(spread, agreement, null="labels", n_bins=2, n_permutations=99, rng=0)
    assert table["mean_correlation"] < 0
    assert (
        table["mean_correlation_lower"]
        < table["mean_correlation"]
        < table["mean_correlation_upper"]
    )
    # how far rows can be told at all: of the halves of the repetitions
    halves = [xc.rdm(trials.isel(repetition=part), "crossnobis") for part in ([0, 1], [2, 3])]
    reliability = xc.alignment(*halves, "rdm")
    assert reliability.dims == ("subject", "stimulus")
    assert 0 < float(reliability.mean()) < 1


def test_what_does_not_go_with_rdms_is_refused():
    rdms = xc.rdm(make_reps(2, 12, 6))
    with pytest.raises(TypeError, match="do not go with RDMs"):
        xc.alignment(rdms, rdms, "rdm", layers="half")
    with pytest.raises(xc.SchemaError):
        xc.alignment(rdms, rdms, "cka")
