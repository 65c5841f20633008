"""The notebook of a training loop runs, and says what its kept outputs say."""

import io
import json
from contextlib import redirect_stdout
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib").use("agg")

NOTEBOOK = Path(__file__).parents[2] / "examples" / "training_loop.ipynb"


@pytest.mark.slow
def test_it_runs_and_the_penalty_does_what_the_page_says():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    names = {"__name__": "notebook"}
    said = io.StringIO()
    with redirect_stdout(said):
        for cell in cells:
            if cell["cell_type"] == "code":
                exec("".join(cell["source"]), names)
    kept = [
        "".join(output["text"])
        for cell in cells
        for output in cell.get("outputs", [])
        if output.get("name") == "stdout"
    ]
    assert [line.split(":")[0] for line in said.getvalue().splitlines()] == [
        line.split(":")[0] for text in kept for line in text.splitlines()
    ]
    dispersion, agreement = zip(*(told[-1] for _, told in names["found"].values()), strict=True)
    assert dispersion[0] > dispersion[1] > dispersion[2]
    assert agreement[0] < min(agreement[1:])
