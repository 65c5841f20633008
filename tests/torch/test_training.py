import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("torch")

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_with_dispersion.py"


def test_the_training_example_runs_in_short(tmp_path):
    path = tmp_path / "results.csv"
    root = str(EXAMPLE.parents[1])
    run = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE), "--short", "--csv", str(path)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert run.returncode == 0, run.stderr
    table = pd.read_csv(path)
    assert np.isfinite(table["value"]).all()
    wide = table.pivot_table(index="measure", columns="penalty", values="value")
    pulled = wide["cosine"] < wide["none"]
    assert pulled["dispersion cosine vision"]
    assert pulled["dispersion cosine language"]
    assert "retrieval top-1" in run.stdout
