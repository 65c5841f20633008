"""The training example, in its short form, and what it measures with."""

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("PIL")

ROOT = Path(__file__).parents[2]
EXAMPLE = runpy.run_path(str(ROOT / "examples" / "train_with_dispersion.py"))


def test_its_short_form(tmp_path):
    paths = [str(tmp_path / name) for name in ("values.csv", "drawn.svg")]
    result = EXAMPLE["main"](["--short", "--csv", paths[0], "--figure", paths[1]])
    assert np.isfinite(result[["mean", "difference", "low", "high"]]).all(axis=None)
    table = pd.read_csv(paths[0])
    assert len(table) == 2 * len(result)
    assert list(table) == ["task", "penalty", "weight", "seed", "measure", "value"]
    assert "retrieval" in Path(paths[1]).read_text("utf-8")
    gaps = result[result["penalty"] == "cosine"].set_index("measure")["difference"]
    assert gaps["dispersion cosine vision"] < 0
    assert gaps["dispersion cosine language"] < 0


def test_ridge_leaves_out_exactly():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 5)), rng.standard_normal((60, 2))
    linear = EXAMPLE["ridge"](x, x[:, :2] + 1, x[:10])
    np.testing.assert_allclose(linear, x[:10, :2] + 1, atol=0.01)
    nothing = EXAMPLE["ridge"](x, y, x)
    assert np.square(nothing - y.mean(0)).sum() < 0.2 * np.square(y - y.mean(0)).sum()


def test_retrieval_and_probe():
    rng = np.random.default_rng(0)
    x, noise = rng.standard_normal((200, 5)), rng.standard_normal((200, 5))
    train, test = np.arange(100), np.arange(100, 200)
    turned = x @ np.linalg.qr(rng.standard_normal((5, 5)))[0]
    assert EXAMPLE["retrieval"](x, turned, train, test) == (1, 1)
    first, ten = EXAMPLE["retrieval"](x, noise, train, test)
    assert first < 0.05
    assert 0.02 < ten < 0.25
    labels = np.digitize(x[:, 0], [-0.5, 0.5])
    assert EXAMPLE["probe"](x, labels, train, test) > 0.6
    assert EXAMPLE["probe"](noise, labels, train, test) < 0.6
