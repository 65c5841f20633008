"""Outputs that are refused, and with which words."""

import pytest

torch = pytest.importorskip("torch")
xt = pytest.importorskip("xconverge.torch")


@pytest.mark.parametrize("fault", [float("nan"), float("inf")])
@pytest.mark.parametrize("metric", ["cosine", "sqeuclidean", "consensus", "neighborhood"])
def test_missing_rows_are_named(x, metric, fault):
    x[1, [2, 7]] = fault
    with pytest.raises(ValueError, match="encoder 1, rows '2', '7' of the batch: NaN or infinity"):
        xt.dispersion(x, metric)
    with pytest.raises(ValueError, match="b, rows '2', '7' of the batch: NaN or infinity"):
        xt.alignment(x[0], x[1], "cka")


def test_rows_without_a_direction_are_named(x):
    x[2, 3] = 0
    for metric in ("cosine", "neighborhood"):
        with pytest.raises(ValueError, match="encoder 2, rows '3' of the batch: a zero vector"):
            xt.dispersion(x, metric)
    with pytest.raises(ValueError, match="a, rows '3' of the batch: a zero vector"):
        xt.alignment(x[2], x[1])
    x[2, 3] = 4.2
    with pytest.raises(ValueError, match="encoder 2, rows '3' of the batch: a constant vector"):
        xt.dispersion(x, "correlation")
    assert xt.dispersion(x, "sqeuclidean").isfinite().all()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda x: x[:1], ValueError, "at least 2 encoders, got 1"),
        (lambda x: x[0], ValueError, r"dims \(model, stimulus, feature\), got shape \(12, 6\)"),
        (lambda x: [x[0], x[1, :5]], ValueError, r"the same stimuli, in order; got \[12, 5\] rows"),
        (lambda x: [x[0], x[1, :, :5]], ValueError, r"\[6, 5\] features; use 'consensus'"),
        (
            lambda x: [x[0], x[1].numpy()],
            TypeError,
            "encoder 1 must be a torch.Tensor, got ndarray",
        ),
        (lambda x: [x[0], x[1].long()], TypeError, "encoder 1 must hold real floating-point"),
        (lambda x: [x[0], x[1, None]], ValueError, "flatten further dims"),
        (lambda x: x[:, :0], ValueError, r"at least one of each, got shape \(0, 6\)"),
    ],
)
def test_outputs_that_do_not_fit(x, change, error, words):
    with pytest.raises(error, match=words):
        xt.dispersion(change(x))
