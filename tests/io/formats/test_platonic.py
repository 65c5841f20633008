"""The reader of platonic-rep's feature files, and of tensors that thingsvision wrote."""

import doctest

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import xconverge as xc  # noqa: E402
from tests.helpers import no_compute  # noqa: E402
from xconverge.cli.main import main  # noqa: E402
from xconverge.io.formats import platonic  # noqa: E402
from xconverge.labels.checks import SchemaError  # noqa: E402

IDS = [f"wit ü{i}" for i in range(6)]


def feats(n_layers, width, seed=0, dtype=None):
    values = torch.randn(6, n_layers, width, generator=torch.Generator().manual_seed(seed))
    return values if dtype is None else values.to(dtype)


def language(n_layers=4, width=5, seed=0, **other):
    """What extract_llm_features saves."""
    mask = (torch.arange(7)[None] < torch.arange(2, 8)[:, None]).long()
    return {
        "feats": feats(n_layers, width, seed), "num_params": 7_000_000_001, "mask": mask,
        "loss": torch.tensor(2.5), "bpb": torch.tensor(1.25), **other,
    }  # fmt: skip


def vision(n_layers=2, width=3, seed=1):
    return {"feats": feats(n_layers, width, seed), "num_params": 86_000_000}


def test_layers_are_models(tmp_path):
    content = language()
    torch.save(content, tmp_path / "llama.pt")
    with no_compute():
        reps = xc.io.read_platonic(tmp_path / "llama.pt", IDS, modality="language")
    assert reps.chunks is not None
    assert reps.dims == ("model", "stimulus", "feature")
    assert reps.attrs["modality"] == "language"
    assert reps.indexes["model"].tolist() == [f"llama {i}" for i in range(4)]
    assert reps.indexes["stimulus"].tolist() == IDS
    assert reps["network"].values.tolist() == ["llama"] * 4
    assert reps["layer"].values.tolist() == [0, 1, 2, 3]
    assert reps["num_params"].values.tolist() == [7_000_000_001] * 4
    assert reps["loss"].values.tolist() == [2.5] * 4
    assert reps["bpb"].values.tolist() == [1.25] * 4
    assert reps["n_tokens"].dims == ("model", "stimulus")
    assert reps["n_tokens"].values[3].tolist() == [2, 3, 4, 5, 6, 7]
    for layer in range(4):
        np.testing.assert_array_equal(reps.values[layer], content["feats"][:, layer].numpy())
    xc.validate(reps)


def test_a_folder_of_networks_of_any_depth(tmp_path):
    torch.save(language(3, 5), tmp_path / "bloom_10.pt")
    torch.save(language(2, 6, 2), tmp_path / "bloom_9.pt")
    torch.save(vision(), tmp_path / "vit_tiny.pt")
    (tmp_path / "notes.txt").write_text("not a tensor")
    reps = xc.io.read_platonic(tmp_path, IDS)
    assert reps["network"].values.tolist() == [
        "bloom_9", "bloom_9", "bloom_10", "bloom_10", "bloom_10", "vit_tiny", "vit_tiny"
    ]  # fmt: skip
    assert reps.n_features.values.tolist() == [6, 6, 5, 5, 5, 3, 3]
    np.testing.assert_array_equal(np.isnan(reps["loss"]), [0, 0, 0, 0, 0, 1, 1])
    assert "n_tokens" not in reps.coords
    xc.validate(reps)
    texts = xc.io.read_platonic(tmp_path, IDS, pattern="bloom_*.pt", layers=[-1, 0])
    assert texts.indexes["model"].tolist() == ["bloom_9 1", "bloom_9 0", "bloom_10 2", "bloom_10 0"]
    np.testing.assert_array_equal(
        texts.sel(model="bloom_10 2", feature=slice(0, 5))[:, :5],
        language(3, 5)["feats"][:, 2].numpy(),
    )
    images = xc.io.read_platonic(tmp_path, IDS, pattern="vit*")
    best = xc.alignment(texts, images, k=2, layers="half", rng=0)
    assert best.sizes == {"model_a": 2, "model_b": 1}


def test_the_numbers_of_the_reference(tmp_path):
    """Mutual kNN of layers, as platonic-rep defines it, from what was read and what was saved."""
    a, b = language(2, 5), vision(2, 4)
    torch.save(a, tmp_path / "a.pt")
    torch.save(b, tmp_path / "b.pt")
    found = xc.alignment(
        xc.io.read_platonic(tmp_path / "a.pt", IDS),
        xc.io.read_platonic(tmp_path / "b.pt", IDS),
        k=2,
    ).mean("stimulus")

    def neighbors(x):
        x = torch.nn.functional.normalize(x, dim=-1)
        return (x @ x.T).fill_diagonal_(-1e8).argsort(dim=1, descending=True)[:, :2]

    for i in range(2):
        for j in range(2):
            one, other = neighbors(a["feats"][:, i]), neighbors(b["feats"][:, j])
            both = [len(set(p) & set(q)) / 2 for p, q in zip(one.tolist(), other.tolist())]  # noqa: B905
            assert found.values[i, j] == pytest.approx(np.mean(both))


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int32])
def test_dtypes_and_formats(tmp_path, dtype, new):
    values = (feats(2, 3) * 10).to(dtype)
    torch.save({"feats": values}, tmp_path / "m.pt", _use_new_zipfile_serialization=new)
    reps = xc.io.read_platonic(tmp_path / "m.pt", IDS, model="net")
    assert reps.indexes["model"].tolist() == ["net 0", "net 1"]
    expected = {torch.bfloat16: "f4", torch.float16: "f2"}.get(dtype, "f8")
    assert reps.dtype == reps.compute().dtype == np.dtype(expected)
    np.testing.assert_array_equal(reps.values, values.double().numpy().transpose(1, 0, 2))


def test_a_list_of_layers_of_any_width(tmp_path):
    layers = [feats(1, width)[:, 0] for width in (3, 5)]
    torch.save({"feats": layers}, tmp_path / "m.pt")
    reps = xc.io.read_platonic(tmp_path / "m.pt", IDS)
    assert reps.n_features.values.tolist() == [3, 5]
    np.testing.assert_array_equal(reps.values[1], layers[1].numpy())


def test_nothing_is_ever_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "it ran"), "w"))

    for new in (True, False):
        torch.save({"feats": Bomb()}, tmp_path / "m.pt", _use_new_zipfile_serialization=new)
        with pytest.raises(SchemaError, match="only unpickling could read them"):
            xc.io.read_platonic(tmp_path / "m.pt", IDS)
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([1, 2], "must hold a dict with 'feats'.*it holds list"),
        ({"features": 1}, "it holds 'features'"),
        ({"feats": torch.ones(6, 3)}, r"shape \(6, 3\)"),
        ({"feats": [torch.ones(6, 2, 3)]}, "stimuli, features"),
        ({"feats": [1]}, "layer 0 must be a tensor, got int"),
        ({"feats": torch.ones(6, 1, 3).to_sparse()}, "plain tensor"),
        ({"feats": torch.ones(6, 1, 3, dtype=torch.complex64)}, "real numbers"),
        ({"feats": torch.ones(1, 1, 1).expand(6, 1, 10**12)}, "holds only 4 bytes"),
        ({"feats": torch.ones(5, 1, 3)}, "5 rows, and there are 6 ids"),
        ({"feats": torch.ones(6, 1, 3), "loss": "low"}, "loss must be a number"),
        ({"feats": torch.ones(6, 1, 3), "mask": torch.ones(5, 2).long()}, "different numbers of"),
        ({"feats": torch.ones(6, 1, 3), "mask": torch.ones(6)}, "mask must be"),
    ],
)
def test_files_that_are_no_features(tmp_path, content, match):
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(SchemaError, match=match):
        xc.io.read_platonic(tmp_path / "m.pt", IDS)


def test_arguments(tmp_path):
    torch.save(vision(), tmp_path / "a.pt")
    torch.save(vision(), tmp_path / "b.pt")
    for layers in ([2], [-3], [], [0, 0], [1, -1]):
        with pytest.raises(SchemaError, match="which has 2 .0 to 1., each once"):
            xc.io.read_platonic(tmp_path / "a.pt", IDS, layers=layers)
    with pytest.raises(SchemaError, match="holds 2 models, named by their files"):
        xc.io.read_platonic(tmp_path, IDS, model="net")
    torch.save(vision(), tmp_path / "a.pth")
    with pytest.raises(SchemaError, match="networks of one name: 'a.pt', 'a.pth'"):
        xc.io.read_platonic(tmp_path, IDS, pattern="a*")
    with pytest.raises(SchemaError, match="never named by their position"):
        xc.io.read_platonic(tmp_path / "a.pt")
    with pytest.raises(FileNotFoundError, match="no file 'x"):
        xc.io.read_platonic(tmp_path, IDS, pattern="x*")
    with pytest.raises(FileNotFoundError):
        xc.io.read_platonic(tmp_path / "none.pt", IDS)
    reps = xc.io.read_platonic(tmp_path / "a.pt", IDS)
    torch.save(vision(3), tmp_path / "a.pt")
    with pytest.raises(SchemaError, match="has changed"):
        reps.compute()


def test_import_and_append(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ids.txt").write_text("\n".join(IDS), "utf-8")
    torch.save(language(3, 5), tmp_path / "a.pt")
    torch.save(language(2, 6), tmp_path / "b.pt")
    command = ["s.zarr", "--modality", "language", "--ids", "ids.txt"]
    assert main(["import", "platonic", "a.pt", *command, "--layers", "0", "-1"]) == 0
    assert main(["import", "platonic", "b.pt", *command, "--append"]) == 0, capsys.readouterr()
    stored = xc.open_representations("s.zarr", "language")
    assert stored.indexes["model"].tolist() == ["a 0", "a 2", "b 0", "b 1"]
    assert stored["n_tokens"].values[0].tolist() == [2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("parts", [["features.pt"], ["features_01.pt", "features_02.pt"]])
def test_tensors_of_thingsvision(tmp_path, parts):
    values = feats(2, 3).to(torch.bfloat16)
    for part, rows in zip(parts, torch.tensor_split(values, len(parts)), strict=True):
        torch.save(rows.clone(), tmp_path / part)
    (tmp_path / "file_names.txt").write_text("\n".join(IDS), "utf-8")
    with no_compute():
        reps = xc.io.read_thingsvision(tmp_path, flatten=True, model="vgg")
    np.testing.assert_array_equal(reps.values[0], values.float().reshape(6, -1).numpy())
    assert reps.indexes["stimulus"].tolist() == IDS
    torch.save({"a": 1}, tmp_path / parts[0])
    with pytest.raises(SchemaError, match="must be a tensor, got dict"):
        xc.io.read_thingsvision(tmp_path)


def test_the_example_of_the_docstring_runs():
    result = doctest.testmod(platonic)
    assert not result.failed
    assert result.attempted > 3
