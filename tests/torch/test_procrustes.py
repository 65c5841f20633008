"""Rotations of a batch: their options, and what they leave to the gradient."""

import numpy as np
import pytest

import xconverge as xc
from tests.helpers import make_reps
from tests.torch.outputs import labelled, outputs, tensors

torch = pytest.importorskip("torch")
xt = pytest.importorskip("xconverge.torch")
procrustes = pytest.importorskip("xconverge.torch.procrustes")

WIDTHS = [6, 3, 8]


def test_the_options_of_the_fit():
    several = tensors(make_reps(3, 30, WIDTHS))
    with pytest.warns(RuntimeWarning, match="stopped after 1 iterations"):
        space = xc.shared_space(labelled(several), max_iterations=1)
    expected = xc.dispersion(space["aligned"], "consensus").values
    found = xt.dispersion(several, "consensus", max_iterations=1)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.filterwarnings("ignore:.*components for:RuntimeWarning")
@pytest.mark.parametrize("widths", [(5, 3, 4), (6, 14, 2, 12)])
def test_the_sum_of_squares_of_the_consensus(widths):
    """Rotations are fitted again for every finite difference."""
    several = outputs(widths=widths)

    def objective(*x):
        return xt.dispersion(x, "consensus", tolerance=1e-15, max_iterations=20_000).square().sum()

    objective(*several).backward()
    rng = np.random.default_rng(0)
    for _ in range(5):
        moves = [torch.tensor(rng.standard_normal(x.shape)) for x in several]
        step = 1e-4
        ends = [
            float(
                objective(
                    *(x.detach() + sign * step * m for x, m in zip(several, moves, strict=True))
                )
            )
            for sign in (1, -1)
        ]
        expected = (ends[0] - ends[1]) / (2 * step)
        found = sum(float((x.grad * m).sum()) for x, m in zip(several, moves, strict=True))
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("normalize", [False, True])
def test_values_of_the_consensus_at_fixed_rotations(monkeypatch, normalize):
    several = outputs()
    turns = procrustes._rotations([x.detach() for x in several], 1e-8, 2000)
    monkeypatch.setattr(procrustes, "_rotations", lambda *_: turns)
    assert torch.autograd.gradcheck(
        lambda *x: xt.dispersion(x, "consensus", normalize=normalize), several
    )
