"""The differentiable measures give the numbers of the labelled ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xconverge as xc
from tests.helpers import make_reps

torch = pytest.importorskip("torch")
xt = pytest.importorskip("xconverge.torch")

WIDTHS = [6, 3, 8]
PRECISION = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 2e-5}


def tensors(reps, dtype=torch.float64):
    """Outputs of every model, without the padding."""
    width = reps.coords.get("n_features", np.full(reps.sizes["model"], reps.sizes["feature"]))
    return [
        torch.tensor(rows[:, : int(w)], dtype=dtype)
        for rows, w in zip(reps.values, np.asarray(width), strict=True)
    ]


def labelled(several):
    """The same rows with labels."""
    names = {f"net{m}": rows.double().numpy() for m, rows in enumerate(several)}
    reps = xc.stack_models(names, stimuli=[f"s{i}" for i in range(len(several[0]))])
    return reps.assign_attrs(space="shared")


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("metric", ["cosine", "correlation", "sqeuclidean"])
def test_coordinate_dispersion(metric, normalize):
    x = torch.stack(tensors(make_reps(5, 30, 7)))
    expected = xc.dispersion(labelled(x), metric, normalize=normalize).values
    found = xt.dispersion(x, metric, normalize=normalize)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(xt.dispersion(list(x), metric, normalize=normalize), found)


def test_dispersion_of_models_that_nearly_agree():
    x = torch.stack(tensors(make_reps(4, 20, 7, noise=1e-5)))
    expected = xc.dispersion(labelled(x)).values
    np.testing.assert_allclose(xt.dispersion(x), expected, rtol=1e-9)
    single = xt.dispersion(x.float())
    np.testing.assert_allclose(single, xc.dispersion(labelled(x.float())), rtol=0.05)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(("n", "widths"), [(30, WIDTHS), (12, [20, 9, 30, 12])])
@pytest.mark.filterwarnings("ignore:.*components for:RuntimeWarning")
def test_consensus_dispersion(n, widths, normalize):
    several = tensors(make_reps(len(widths), n, widths, offset=2.0))
    space = xc.shared_space(labelled(several))
    expected = xc.dispersion(space["aligned"], "consensus", normalize=normalize).values
    found = xt.dispersion(several, "consensus", normalize=normalize)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_consensus_takes_the_options_of_the_fit():
    several = tensors(make_reps(3, 30, WIDTHS))
    with pytest.warns(RuntimeWarning, match="stopped after 1 iterations"):
        space = xc.shared_space(labelled(several), max_iterations=1)
    expected = xc.dispersion(space["aligned"], "consensus").values
    found = xt.dispersion(several, "consensus", max_iterations=1)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize("widths", [[6, 4], [3, 50], [40, 50]])
@pytest.mark.filterwarnings("ignore:.*as many features as stimuli:RuntimeWarning")
def test_cka(widths, debiased):
    a, b = tensors(make_reps(2, 30, widths, offset=3.0))
    expected = xc.alignment(labelled([a]), labelled([b]), "cka", debiased=debiased).item()
    assert xt.alignment(a, b, "cka", debiased=debiased).item() == pytest.approx(expected, rel=1e-11)
    assert xt.alignment(a, 1e30 * a, "cka", debiased=debiased).item() == pytest.approx(1)


@pytest.mark.parametrize("k", [1, 4, 19])
def test_neighborhoods_in_the_limit(k):
    several = tensors(make_reps(3, 20, WIDTHS))
    reps = labelled(several)
    expected = xc.dispersion(reps, "neighborhood", k=k).values
    found = xt.dispersion(several, "neighborhood", k=k, temperature=1e-9)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    expected = xc.alignment(reps[:1], reps[1:2], k=k).values[0, 0]
    found = xt.alignment(several[0], several[1], k=k, temperature=1e-9)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_neighborhoods_converge():
    several = tensors(make_reps(3, 60, WIDTHS))
    expected = xc.dispersion(labelled(several), "neighborhood", k=5).values
    gaps = [
        np.abs(xt.dispersion(several, "neighborhood", k=5, temperature=t).numpy() - expected).mean()
        for t in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
    ]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] > 0.05
    assert gaps[-1] < 1e-3


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


@pytest.mark.parametrize("metric", ["cka", "mutual_knn"])
def test_order_changes_no_alignment(metric):
    a, b = tensors(make_reps(2, 30, [6, 4]))
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    found, expected = xt.alignment(a[order], b[order], metric), xt.alignment(a, b, metric)
    np.testing.assert_allclose(found.sum(), expected.sum(), rtol=1e-12)
    np.testing.assert_allclose(xt.alignment(b, a, metric), expected, rtol=1e-12)


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
