"""Dispersion of encoders: the numbers of the labelled one, with gradients."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xconverge as xc
from tests.helpers import make_reps
from tests.torch.outputs import labelled, outputs, tensors

torch = pytest.importorskip("torch")
xt = pytest.importorskip("xconverge.torch")

WIDTHS = [6, 3, 8]
PRECISION = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 2e-5}


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("metric", ["cosine", "correlation", "sqeuclidean"])
def test_metrics_that_compare_features(metric, normalize):
    x = torch.stack(tensors(make_reps(5, 30, 7)))
    expected = xc.dispersion(labelled(x), metric, normalize=normalize).values
    found = xt.dispersion(x, metric, normalize=normalize)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(xt.dispersion(list(x), metric, normalize=normalize), found)


def test_models_that_nearly_agree():
    x = torch.stack(tensors(make_reps(4, 20, 7, noise=1e-5)))
    expected = xc.dispersion(labelled(x)).values
    np.testing.assert_allclose(xt.dispersion(x), expected, rtol=1e-9)
    single = xt.dispersion(x.float())
    np.testing.assert_allclose(single, xc.dispersion(labelled(x.float())), rtol=0.05)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(("n", "widths"), [(30, WIDTHS), (12, [20, 9, 30, 12])])
@pytest.mark.filterwarnings("ignore:.*components for:RuntimeWarning")
def test_consensus(n, widths, normalize):
    several = tensors(make_reps(len(widths), n, widths, offset=2.0))
    space = xc.shared_space(labelled(several))
    expected = xc.dispersion(space["aligned"], "consensus", normalize=normalize).values
    found = xt.dispersion(several, "consensus", normalize=normalize)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@given(st.data())
@pytest.mark.filterwarnings("ignore:.*components for:RuntimeWarning")
def test_any_shape_and_precision(data):
    dtype = data.draw(st.sampled_from(list(PRECISION)))
    models, n = data.draw(st.integers(2, 5)), data.draw(st.integers(4, 12))
    width = data.draw(st.integers(2, 9))
    x = torch.stack(tensors(make_reps(models, n, width, data.draw(st.integers(0, 99))), dtype))
    metric = data.draw(st.sampled_from(["cosine", "sqeuclidean", "neighborhood", "consensus"]))
    options = {"k": data.draw(st.integers(1, n - 1))} if metric == "neighborhood" else {}
    double = xt.dispersion(x.double(), metric, **options)
    x.requires_grad_()
    found = xt.dispersion(x, metric, **options)
    assert found.dtype == torch.promote_types(dtype, torch.float32)
    tolerance = PRECISION[dtype] * (50 if metric == "neighborhood" else 1)
    np.testing.assert_allclose(found.detach(), double, rtol=tolerance, atol=tolerance)
    found.mean().backward()
    assert x.grad.dtype == dtype
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("metric", ["cosine", "sqeuclidean", "consensus", "neighborhood"])
def test_order_changes_nothing(metric):
    x = torch.stack(tensors(make_reps(3, 30, 6)))
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    found = xt.dispersion(x[:, order], metric, tolerance=1e-13)
    expected = xt.dispersion(x, metric, tolerance=1e-13)[order]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(
        xt.dispersion(x.flip(0), metric, tolerance=1e-13)[order], expected, rtol=1e-6
    )


@pytest.mark.parametrize("metric", ["cosine", "consensus", "neighborhood"])
def test_autocast_does_not_lower_the_precision(metric):
    several = tensors(make_reps(3, 30, 6), torch.float32)
    expected = xt.dispersion(several, metric)
    agreement = xt.alignment(several[0], several[1], "cka")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = xt.dispersion(several, metric)
        assert xt.alignment(several[0], several[1], "cka") == agreement
    assert torch.equal(found, expected)


def test_inputs_are_not_changed():
    x = torch.stack(tensors(make_reps(3, 30, 6)))
    before = x.clone()
    for metric in ("cosine", "correlation", "consensus", "neighborhood"):
        xt.dispersion(x, metric)
    xt.alignment(x[0], x[1], "cka")
    assert torch.equal(x, before)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("metric", ["cosine", "correlation", "sqeuclidean"])
def test_gradients_of_metrics_that_compare_features(metric, normalize):
    several = outputs(widths=(4, 4, 4))
    assert torch.autograd.gradcheck(
        lambda *x: xt.dispersion(x, metric, normalize=normalize), several
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


def test_arguments_that_do_not_fit(x):
    with pytest.raises(ValueError, match="metric='cosin' is not known"):
        xt.dispersion(x, "cosin")
    with pytest.raises(ValueError, match="k=12 neighbours need at least 13 stimuli, there are 12"):
        xt.dispersion(x, "neighborhood", k=12)
    with pytest.raises(ValueError, match="does not go with metric='neighborhood'"):
        xt.dispersion(x, "neighborhood", normalize=True)
    with pytest.raises(ValueError, match="encoder 1: all its stimuli have the same vector"):
        xt.dispersion([x[0], torch.ones_like(x[0])], "consensus")
    x[:, 4] = 0
    with pytest.raises(ValueError, match="a stimulus is at zero in all encoders"):
        xt.dispersion(x, "sqeuclidean", normalize=True)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_small_batches(x, n):
    batch = x[:, :n]
    assert torch.equal(xt.dispersion(batch), xt.dispersion(x)[:n])
    assert torch.equal(xt.dispersion(batch, "sqeuclidean"), xt.dispersion(x, "sqeuclidean")[:n])
    if n == 1:
        with pytest.raises(ValueError, match="encoder 0: all its stimuli have the same vector"):
            xt.dispersion(batch, "consensus")
    else:
        with pytest.warns(RuntimeWarning, match=f"{n} components for a batch of {n} stimuli"):
            assert xt.dispersion(batch, "consensus").isfinite().all()
