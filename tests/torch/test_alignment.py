"""Alignment of two encoders: the numbers of the labelled one, with gradients."""

import numpy as np
import pytest

import xconverge as xc
from tests.helpers import make_reps
from tests.torch.outputs import labelled, outputs, tensors

torch = pytest.importorskip("torch")
xt = pytest.importorskip("xconverge.torch")


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize("widths", [[6, 4], [3, 50], [40, 50]])
@pytest.mark.filterwarnings("ignore:.*as many features as stimuli:RuntimeWarning")
def test_cka(widths, debiased):
    a, b = tensors(make_reps(2, 30, widths, offset=3.0))
    expected = xc.alignment(labelled([a]), labelled([b]), "cka", debiased=debiased).item()
    assert xt.alignment(a, b, "cka", debiased=debiased).item() == pytest.approx(expected, rel=1e-11)
    assert xt.alignment(a, 1e30 * a, "cka", debiased=debiased).item() == pytest.approx(1)


@pytest.mark.parametrize("metric", ["cka", "mutual_knn"])
def test_order_changes_nothing(metric):
    a, b = tensors(make_reps(2, 30, [6, 4]))
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    found, expected = xt.alignment(a[order], b[order], metric), xt.alignment(a, b, metric)
    np.testing.assert_allclose(found.sum(), expected.sum(), rtol=1e-12)
    np.testing.assert_allclose(xt.alignment(b, a, metric), expected, rtol=1e-12)


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize("widths", [(5, 3), (12, 10)])
def test_gradients_of_cka(widths, debiased):
    several = outputs(widths=widths)
    assert torch.autograd.gradcheck(
        lambda a, b: xt.alignment(a, b, "cka", debiased=debiased), several
    )


@pytest.mark.parametrize("debiased", [True, False])
def test_products_of_features_and_of_stimuli_agree(x, debiased):
    """Features that are 0 change no inner product, but which products are formed."""
    found = []
    for padding in (0, 50):
        a, b = (torch.nn.functional.pad(rows, (0, padding)).requires_grad_() for rows in x[:2])
        value = xt.alignment(a, b, "cka", debiased=debiased)
        value.backward()
        found.append((value.detach(), a.grad[:, :6], b.grad[:, :6]))
    torch.testing.assert_close(*found, rtol=1e-11, atol=1e-13)


def test_arguments_that_do_not_fit(x):
    with pytest.raises(ValueError, match="metric='cosine' is not known"):
        xt.alignment(x[0], x[1], "cosine")
    with pytest.raises(ValueError, match="temperature=0 must be above 0"):
        xt.alignment(x[0], x[1], k=3, temperature=0)
    with pytest.raises(ValueError, match="the same stimuli"):
        xt.alignment(x[0], x[1, :5])
    with pytest.raises(ValueError, match="no structure beyond chance in this batch"):
        xt.alignment(torch.ones(12, 3), x[0].float(), "cka")


@pytest.mark.parametrize("n", [1, 2, 3])
def test_small_batches(x, n):
    batch = x[:, :n]
    with pytest.raises(ValueError, match=f"at least 4 stimuli in a batch, got {n}"):
        xt.alignment(batch[0], batch[1], "cka")
    with pytest.raises(ValueError, match=f"k=3 neighbours need at least 4 stimuli, there are {n}"):
        xt.alignment(batch[0], batch[1], k=3)
