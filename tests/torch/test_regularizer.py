"""The penalty: a weighted mean, what it refuses, and that it works."""

import pytest

torch = pytest.importorskip("torch")
xt = pytest.importorskip("xconverge.torch")


def test_it_is_a_weighted_mean(x):
    values = xt.dispersion(x, "neighborhood", k=3)
    penalty = xt.DispersionRegularizer(0.5, "neighborhood", k=3)
    assert penalty(x).item() == pytest.approx(0.5 * values.mean().item())
    share = torch.arange(12)
    expected = (share * values).sum() / share.sum()
    assert penalty(list(x), share).item() == pytest.approx(0.5 * expected.item())
    assert repr(penalty) == "DispersionRegularizer(weight=0.5, metric='neighborhood', k=3)"
    assert not list(penalty.parameters())


def test_what_it_refuses(x):
    penalty = xt.DispersionRegularizer()
    with pytest.raises(ValueError, match=r"each of the 12 stimuli, got shape \(3,\)"):
        penalty(x, torch.ones(3))
    for share in (torch.zeros(12), -torch.ones(12), torch.full((12,), float("nan"))):
        with pytest.raises(ValueError, match="must not be negative, nor NaN, nor 0 throughout"):
            penalty(x, share)
    with pytest.raises(ValueError, match="metric='cosin' is not known"):
        xt.DispersionRegularizer(metric="cosin")


@pytest.mark.parametrize("metric", ["cosine", "sqeuclidean", "consensus", "neighborhood"])
def test_it_pulls_encoders_together(x, metric):
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
