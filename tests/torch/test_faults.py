"""What is refused, and with which words; small batches; the regulariser."""

import pytest

from tests.helpers import make_reps

torch = pytest.importorskip("torch")
xt = pytest.importorskip("xconverge.torch")


@pytest.fixture
def x():
    return torch.tensor(make_reps(3, 12, 6).values)


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


def test_arguments_that_do_not_fit(x):
    with pytest.raises(ValueError, match="metric='cosin' is not known"):
        xt.dispersion(x, "cosin")
    with pytest.raises(ValueError, match="metric='cosine' is not known"):
        xt.alignment(x[0], x[1], "cosine")
    with pytest.raises(ValueError, match="k=12 neighbours need at least 13 stimuli, there are 12"):
        xt.dispersion(x, "neighborhood", k=12)
    with pytest.raises(ValueError, match="temperature=0 must be above 0"):
        xt.alignment(x[0], x[1], k=3, temperature=0)
    with pytest.raises(ValueError, match="does not go with metric='neighborhood'"):
        xt.dispersion(x, "neighborhood", normalize=True)
    with pytest.raises(ValueError, match="the same stimuli"):
        xt.alignment(x[0], x[1, :5])
    x[:, 4] = 0
    with pytest.raises(ValueError, match="a stimulus is at zero in all encoders"):
        xt.dispersion(x, "sqeuclidean", normalize=True)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_small_batches(x, n):
    batch = x[:, :n]
    assert torch.equal(xt.dispersion(batch), xt.dispersion(x)[:n])
    assert torch.equal(xt.dispersion(batch, "sqeuclidean"), xt.dispersion(x, "sqeuclidean")[:n])
    with pytest.raises(ValueError, match=f"at least 4 stimuli in a batch, got {n}"):
        xt.alignment(batch[0], batch[1], "cka")
    with pytest.raises(ValueError, match=f"k=3 neighbours need at least 4 stimuli, there are {n}"):
        xt.alignment(batch[0], batch[1], k=3)
    if n == 1:
        with pytest.raises(ValueError, match="encoder 0: all its stimuli have the same vector"):
            xt.dispersion(batch, "consensus")
    else:
        with pytest.warns(RuntimeWarning, match=f"{n} components for a batch of {n} stimuli"):
            assert xt.dispersion(batch, "consensus").isfinite().all()


def test_encoders_without_structure(x):
    with pytest.raises(ValueError, match="no structure beyond chance in this batch"):
        xt.alignment(torch.ones(12, 3), x[0].float(), "cka")
    with pytest.raises(ValueError, match="encoder 1: all its stimuli have the same vector"):
        xt.dispersion([x[0], torch.ones_like(x[0])], "consensus")


def test_the_regularizer_is_a_weighted_mean(x):
    values = xt.dispersion(x, "neighborhood", k=3)
    penalty = xt.DispersionRegularizer(0.5, "neighborhood", k=3)
    assert penalty(x).item() == pytest.approx(0.5 * values.mean().item())
    share = torch.arange(12)
    expected = (share * values).sum() / share.sum()
    assert penalty(list(x), share).item() == pytest.approx(0.5 * expected.item())
    assert repr(penalty) == "DispersionRegularizer(weight=0.5, metric='neighborhood', k=3)"
    assert not list(penalty.parameters())


def test_what_the_regularizer_refuses(x):
    penalty = xt.DispersionRegularizer()
    with pytest.raises(ValueError, match=r"each of the 12 stimuli, got shape \(3,\)"):
        penalty(x, torch.ones(3))
    for share in (torch.zeros(12), -torch.ones(12), torch.full((12,), float("nan"))):
        with pytest.raises(ValueError, match="must not be negative, nor NaN, nor 0 throughout"):
            penalty(x, share)
    with pytest.raises(ValueError, match="metric='cosin' is not known"):
        xt.DispersionRegularizer(metric="cosin")


@pytest.mark.parametrize("metric", ["cosine", "sqeuclidean", "consensus", "neighborhood"])
def test_the_regularizer_pulls_encoders_together(x, metric):
    nets = [torch.nn.Linear(6, 3).double() for _ in x]
    generator = torch.Generator().manual_seed(0)
    for net in nets:
        torch.nn.init.normal_(net.weight, generator=generator)
        torch.nn.init.zeros_(net.bias)
    penalty = xt.DispersionRegularizer(
        1.0, metric, **({"k": 3} if metric == "neighborhood" else {})
    )
    optimizer = torch.optim.Adam([p for net in nets for p in net.parameters()], 0.02)
    history = []
    for _ in range(60):
        loss = penalty([net(rows) for net, rows in zip(nets, x, strict=True)])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.8 * history[0]
