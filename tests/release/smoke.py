"""Does an installed xconverge work, where nothing is but what it needs? Runs without pytest.

``python -I smoke.py [VERSION]`` in the environment that is asked about.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib import metadata, resources
from importlib.util import find_spec
from pathlib import Path

import xarray as xr

import xconverge as xc

EXTRAS = {"matplotlib": "plot", "rich": "cli", "distributed": "distributed"}


def main() -> None:
    place = Path(xc.__file__).parent
    assert "site-packages" in place.parts, f"{place} is not what was installed"
    assert xc.__version__ == metadata.version("xconverge")
    assert sys.argv[1:] in ([], [xc.__version__]), xc.__version__
    for name in ("py.typed", "__init__.pyi", "io/__init__.pyi"):
        assert resources.files("xconverge").joinpath(name).is_file(), name
    # the ten lines of the README, which is in the metadata too
    readme = metadata.metadata("xconverge").get_payload()
    lines = readme.split("## Ten lines on real data")[1].split("```python\n")[1].split("```")[0]
    exec(compile(lines, "README.md", "exec"), {})
    with tempfile.TemporaryDirectory() as folder:
        reps = next(iter(xc.open_demo("emoji").values()))[:, :40]
        xc.write_representations(f"{folder}/study.zarr", reps, modality="vision")
        opened = xc.open_representations(f"{folder}/study.zarr", "vision")
        assert xc.dispersion(opened, "neighborhood", k=5).compute().notnull().all()
        run("info", f"{folder}/study.zarr", says="vision")
    run("--help", says="usage: xconverge")
    run("--version", says=xc.__version__)
    missing = [name for name in EXTRAS if find_spec(name) is None]
    if "matplotlib" in missing:
        assert "pip install 'xconverge[plot]'" in what_a_figure_says(reps)
    print(f"xconverge {xc.__version__} works, without {', '.join(missing) or 'nothing'}")


def what_a_figure_says(reps: xr.DataArray) -> str:
    try:
        xc.plot.alignment_matrix(xc.alignment(reps, reps, "cka"))
    except ImportError as error:
        return str(error)
    return "nothing"


def run(*arguments: str, says: str) -> None:
    script = Path(sys.executable).parent / "xconverge"
    done = subprocess.run([script, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert says in done.stdout, done.stdout


if __name__ == "__main__":
    main()
