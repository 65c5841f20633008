"""Sums that are kept up under exchanges, against plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform

from tests.oracles import set_agreement
from xconverge.kernels import set_search as kernels
from xconverge.kernels.vectors import METRICS, prepare


def noisy_models(n_models, n_stimuli, width, seed=0, *, dtype=np.float64, offset=0.0):
    """Vectors (model, stimulus, feature) that agree as far as half of their variance."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((n_stimuli, width))
    noise = rng.standard_normal((n_models, n_stimuli, width))
    return (common + noise + offset).astype(dtype)


def source_of(models, metric="correlation"):
    rows = [prepare(one, one.shape[1], METRICS[metric])[0] for one in models]
    return kernels.Features([one.astype(models.dtype) for one in rows], metric)


def unlimited(n_stimuli, n):
    return kernels.Limits(np.array([0, n_stimuli]), np.array([n]), None)


@pytest.mark.slow_after(2)
@pytest.mark.parametrize("metric", list(METRICS))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_candidate_is_scored_as_if_it_were_exchanged_for_a_member(metric, dtype):
    models = noisy_models(4, 30, 8, dtype=dtype, offset=1.0)
    rdms = [squareform(pdist(x.astype(np.float64), metric)) for x in models]
    source = source_of(models, metric)
    members = np.array([3, 8, 1, 20, 11, 27])
    search = kernels.Search(kernels.Profiles(source), members, unlimited(30, 6), 1)
    tolerance = 1e-9 if dtype == np.float64 else 2e-5
    assert search.value == pytest.approx(set_agreement(rdms, members), abs=tolerance)
    for position in range(6):
        rest = search.sums.less(search._to(members[position], members))
        gone = search.profiles[int(members[position])]
        scores = search.moments.scores(rest, gone, slice(0, 30), search.pairs)
        for new in set(range(30)) - set(members.tolist()):
            other = members.copy()
            other[position] = new
            assert scores[new] == pytest.approx(set_agreement(rdms, other), abs=tolerance)


@given(seed=st.integers(0, 10**6), n=st.integers(3, 9), count=st.integers(1, 25))
def test_the_objective_kept_up_is_the_one_made_anew(seed, n, count):
    rng = np.random.default_rng(seed)
    source = source_of(noisy_models(3, 20, 5, seed))
    search = kernels.Search(kernels.Profiles(source), rng.permutation(20)[:n], unlimited(20, n), 1)
    for _ in range(count):
        position = int(rng.integers(n))
        new = int(rng.choice(np.setdiff1d(np.arange(20), search.members)))
        gone = int(search.members[position])
        sums = search.sums.less(search._to(gone, search.members))
        search.sums = sums.plus(search._to(new, np.delete(search.members, position)))
        search.moments.change(search.profiles[new], search.profiles[gone])
        search.members[position] = new
    kept, moments = search._value(search.sums), search.moments
    search.refresh()
    assert kept == pytest.approx(search.value, abs=1e-10)
    assert kept == pytest.approx(kernels.agreement(source.inside(search.members)), abs=1e-10)
    np.testing.assert_allclose(moments.mixed, search.moments.mixed, atol=1e-9)
    np.testing.assert_allclose(moments.second, search.moments.second, atol=1e-9)
