"""Activations that TorchLens recorded."""

import doctest

import numpy as np
import pytest

import xconverge as xc

torch = pytest.importorskip("torch")
torchlens = pytest.importorskip("torchlens")

from torchlens.dataset_extraction import extract_dataset, open_extraction  # noqa: E402

from xconverge.io.formats import torchlens as ours  # noqa: E402

IDS = ["cat", "dög", "cow", "owl", "emu"]
pytestmark = pytest.mark.filterwarnings("ignore:.*torch:DeprecationWarning")


class Net(torch.nn.Module):
    """Convolutions and tokens; `relu` runs twice."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 5, 3)
        self.relu = torch.nn.ReLU()
        self.mix = torch.nn.Linear(5, 6)
        self.fc = torch.nn.Linear(6, 2)

    def forward(self, images):
        maps = self.relu(self.conv2(self.relu(self.conv1(images))))
        tokens = self.mix(maps.flatten(2).transpose(1, 2))
        return self.fc(tokens.mean(1)).softmax(-1)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def truth(net, images):
    """By hooks of PyTorch itself."""
    found = {}
    for name, module in net.named_modules():
        if name in ("conv2", "mix", "fc"):
            module.register_forward_hook(
                lambda _m, _x, out, name=name: found.update({name: out.detach().numpy()})
            )
    with torch.no_grad():
        net(images)
    for module in net.modules():
        module._forward_hooks.clear()
    return found


def test_layers_of_a_trace(net, images, truth):
    trace = torchlens.trace(net, images)
    reps = xc.io.from_torchlens(
        trace, IDS, layers=["conv2", "mix", "fc"], pool="mean", modality="vision"
    )
    xc.validate(reps)
    assert reps.name == "representation"
    assert reps.model.values.tolist() == ["Net conv2", "Net mix", "Net fc"]
    assert reps.stimulus.values.tolist() == IDS
    assert reps.attrs["modality"] == "vision"
    assert reps.n_features.values.tolist() == [5, 6, 2]
    assert set(reps.network.values) == {"Net"}
    assert reps.layer.values.tolist() == ["conv2", "mix", "fc"]
    assert set(reps.pooling.values) == {"mean"}
    expected = {
        "conv2": truth["conv2"].mean((2, 3)),
        "mix": truth["mix"].mean(1),
        "fc": truth["fc"],
    }
    for layer, values in expected.items():
        found = reps.sel(model=f"Net {layer}").values[:, : values.shape[1]]
        np.testing.assert_allclose(found, values, rtol=1e-6)


@pytest.mark.parametrize(
    ("pool", "make"),
    [
        ("flatten", lambda x: x.reshape(5, -1)),
        ("cls", lambda x: x[:, 0]),
        (lambda x: x.max(1), lambda x: x.max(1)),
    ],
)
def test_pools(net, images, truth, pool, make):
    trace = torchlens.trace(net, images)
    reps = xc.io.from_torchlens(trace, IDS, layers="mix", pool=pool, network="mine")
    assert reps.model.item() == "mine mix"
    np.testing.assert_allclose(reps[0], make(truth["mix"]), rtol=1e-6)


def test_batches_are_joined(net, images, truth):
    traces = [torchlens.trace(net, part) for part in images.split(2)]
    reps = xc.io.from_torchlens(traces, IDS, layers="fc")
    np.testing.assert_allclose(reps[0], truth["fc"], rtol=1e-4, atol=1e-6)
    assert "pooling" not in reps.coords


def test_what_was_saved_is_the_default(net, images):
    trace = torchlens.trace(net, images, save=torchlens.func("linear"))
    reps = xc.io.from_torchlens(trace, IDS, pool="mean")
    assert [layer.split("_")[0] for layer in reps.layer.values] == ["linear", "linear"]
    with pytest.raises(xc.SchemaError, match="'conv2' is not one that the trace has saved"):
        xc.io.from_torchlens(trace, IDS, layers="conv2")


def test_extractions_know_their_stimuli(net, images, truth, tmp_path):
    where = tmp_path / "extraction"
    extract_dataset(
        net, images, ["conv2", "mix"], batch_size=2, output_dir=where, progress=False,
        stimulus_ids=IDS,
    )  # fmt: skip
    reader = open_extraction(where)
    reps = xc.io.from_torchlens(reader, pool="flatten", network="net")
    assert reps.stimulus.values.tolist() == IDS
    for layer in ("conv2", "mix"):
        values = truth[layer].reshape(5, -1)
        found = reps.sel(model=f"net {layer}").values[:, : values.shape[1]]
        np.testing.assert_allclose(found, values, rtol=1e-4, atol=1e-6)
    one = xc.io.from_torchlens(reader, IDS[::-1], layers="mix", pool="cls", network="net")
    assert one.stimulus.values.tolist() == IDS[::-1]
    with pytest.raises(
        xc.SchemaError, match="activations have no layer 'fc'; there is 'conv2', 'mix'"
    ):
        xc.io.from_torchlens(reader, layers=["mix", "fc"], network="net")
    with pytest.raises(xc.SchemaError, match="name it with network='…'"):
        xc.io.from_torchlens(reader, pool="mean")


def test_tensors_by_name(net, images, truth):
    tensors = torchlens.extract(net, images, ["mix"])
    reps = xc.io.from_torchlens(tensors, IDS, pool="mean", network="net")
    np.testing.assert_allclose(reps[0], truth["mix"].mean(1), rtol=1e-5)
    half = xc.io.from_torchlens({"a": torch.ones(5, 2, dtype=torch.bfloat16)}, IDS, network="net")
    assert half.dtype == np.float32


def test_what_is_refused(net, images):
    trace = torchlens.trace(net, images)

    def take(**options):
        return xc.io.from_torchlens(trace, **{"stimuli": IDS, "layers": "mix", **options})

    with pytest.raises(xc.SchemaError, match="rows are never named by their position"):
        take(stimuli=None)
    with pytest.raises(xc.SchemaError, match=r"has 5 rows \(its shape is .*\), and there are 4"):
        take(stimuli=IDS[:4])
    with pytest.raises(xc.SchemaError, match=r"shape \(5, 16, 6\), .*'flatten' or a function"):
        take()
    with pytest.raises(ValueError, match="maps have no tokens; take mean or flatten"):
        take(layers="conv2", pool="cls")
    with pytest.raises(xc.SchemaError, match="'nowhere' is not one that the trace has saved"):
        take(layers="nowhere")
    with pytest.raises(xc.SchemaError, match="'relu' is not one .*relu_1_2"):
        take(layers="relu")  # it runs twice
    with pytest.raises(xc.SchemaError, match=r"pool must make \(5 stimuli, .*made \(5,\)"):
        take(pool=lambda x: x.mean((1, 2)))
    with pytest.raises(ValueError, match="pool must be one of 'mean', .*'flatten'"):
        take(pool="max")
    with pytest.raises(TypeError, match="activations must be a Trace of TorchLens"):
        xc.io.from_torchlens([images], IDS)
    with pytest.raises(xc.SchemaError, match="no saved layers"):
        xc.io.from_torchlens({}, IDS, network="net")
    with pytest.raises(xc.SchemaError, match="labels|duplicate"):
        take(stimuli=["cat"] * 5, pool="mean")


def test_the_example_runs():
    assert doctest.testmod(ours).failed == 0
