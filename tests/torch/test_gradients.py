"""Gradients against finite differences, and finite where values have a kink."""

import numpy as np
import pytest

from tests.helpers import make_reps

torch = pytest.importorskip("torch")
xt = pytest.importorskip("xconverge.torch")
procrustes = pytest.importorskip("xconverge.torch.procrustes")


def outputs(n=9, widths=(5, 3, 4), seed=0):
    reps = make_reps(len(widths), n, list(widths), seed)
    return [
        torch.tensor(rows[:, :w], requires_grad=True)
        for rows, w in zip(reps.values, widths, strict=True)
    ]


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("metric", ["cosine", "correlation", "sqeuclidean"])
def test_coordinate_dispersion(metric, normalize):
    several = outputs(widths=(4, 4, 4))
    assert torch.autograd.gradcheck(
        lambda *x: xt.dispersion(x, metric, normalize=normalize), several
    )


@pytest.mark.parametrize("temperature", [1.0, 0.05])
@pytest.mark.parametrize("k", [1, 3, 7, 8])
def test_neighborhoods(k, temperature):
    options = {"k": k, "temperature": temperature}
    several = outputs()
    assert torch.autograd.gradcheck(lambda *x: xt.dispersion(x, "neighborhood", **options), several)
    assert torch.autograd.gradcheck(lambda a, b: xt.alignment(a, b, **options), several[:2])


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize("widths", [(5, 3), (12, 10)])
def test_cka(widths, debiased):
    several = outputs(widths=widths)
    assert torch.autograd.gradcheck(
        lambda a, b: xt.alignment(a, b, "cka", debiased=debiased), several
    )


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("metric", ["cosine", "correlation", "sqeuclidean", "consensus"])
def test_where_models_agree_exactly(metric, dtype):
    one = outputs(12, (4, 4))[0].detach().to(dtype)
    x = one.repeat(3, 1, 1).requires_grad_()
    value = xt.dispersion(x, metric)
    assert value.abs().max() < 1e-3 * torch.finfo(dtype).eps ** 0.5
    value.sum().backward()
    assert x.grad.isfinite().all()
    if metric != "consensus":
        assert x.grad.abs().max() < 1e-5
    else:
        assert x.grad.abs().max() < 10


@pytest.mark.parametrize("temperature", [1.0, 0.05, 1e-3, 1e-12])
@pytest.mark.parametrize("repeated", [2, 5, 12])
def test_where_rows_repeat(repeated, temperature):
    x = torch.stack([rows.detach() for rows in outputs(12, (4, 4))])
    x[:, :repeated] = x[:, :1].clone()
    x.requires_grad_()
    options = {"k": 3, "temperature": temperature}
    total = xt.dispersion(x, "neighborhood", **options).sum() + xt.alignment(*x, **options).sum()
    if repeated < 12:
        total = total + xt.alignment(*x, "cka") + xt.dispersion(x, "consensus").sum()
    total.backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1e15, 1e30])
def test_far_from_one(scale):
    x = (scale * torch.stack([rows.detach() for rows in outputs(12, (4, 4))])).float()
    x.requires_grad_()
    total = xt.dispersion(x).sum() + xt.dispersion(x, "consensus").sum() + xt.alignment(*x, "cka")
    total = total + xt.alignment(*x, k=3).sum()
    total.backward()
    assert total.isfinite()
    assert x.grad.isfinite().all()
    assert x.grad.abs().max() > 0
