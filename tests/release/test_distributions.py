"""What is in the wheel and in the sdist, and that the types in the wheel are found.

That both install and work where nothing else is, `.ci/run` tries: it takes a network.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email import message_from_bytes
from pathlib import PurePosixPath

import pytest

from tests.release.test_metadata import EXTRAS, PROJECT, ROOT

pytestmark = pytest.mark.slow
MIB = 2**20


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with both, the wheel made from the sdist, by the tools that are installed here."""
    for name in ("build", "hatchling", "hatch_vcs"):
        pytest.importorskip(name)
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "-q", "--no-isolation", "-o", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def sdist(built):
    (path,) = built.glob("*.tar.gz")
    return path


def of_the_package():
    files = (path for path in (ROOT / "xconverge").rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    about = {name for name in names if ".dist-info/" in name}
    assert names - about == of_the_package()
    assert {"xconverge/py.typed", "xconverge/__init__.pyi", "xconverge/io/__init__.pyi"} <= names
    assert any(name.startswith("xconverge/cli/demo_data/") for name in names)
    assert {PurePosixPath(name).name for name in about} == {
        "METADATA", "WHEEL", "RECORD", "entry_points.txt", "LICENSE",
    }  # fmt: skip
    # nearly all of it is the data of the demo
    assert wheel.stat().st_size < 21 * MIB
    assert re.fullmatch(r"xconverge-[\w.+]+-py3-none-any\.whl", wheel.name)


def test_the_wheel_says_what_it_needs(wheel):
    with zipfile.ZipFile(wheel) as packed:
        (name,) = (name for name in packed.namelist() if name.endswith("/METADATA"))
        said = message_from_bytes(packed.read(name))
        (scripts,) = (name for name in packed.namelist() if name.endswith("/entry_points.txt"))
        assert "xconverge = xconverge.cli.main:main" in packed.read(scripts).decode()
    assert said["Name"] == "xconverge"
    assert said["License-Expression"] == PROJECT["license"]
    assert said["Requires-Python"] == PROJECT["requires-python"]
    assert set(said.get_all("Provides-Extra")) == set(EXTRAS)
    plain = [need for need in said.get_all("Requires-Dist") if "extra ==" not in need]
    assert sorted(plain) == sorted(need.replace("_", "-") for need in PROJECT["dependencies"])
    assert said.get_payload().startswith("# xconverge")


def test_the_sdist_holds_all_that_tests_and_docs_need(sdist):
    with tarfile.open(sdist) as packed:
        files = {name.partition("/")[2] for name in packed.getnames()}
    assert files >= of_the_package()
    for name in (".ci/run", "docs/api.md", "examples/cluster.md", "tests/conftest.py", "PKG-INFO"):
        assert name in files, name
    # gzip leaves features as they are
    assert sdist.stat().st_size < 23 * MIB
    assert not [name for name in files if "__pycache__" in name or name.startswith(".git/")]


SCRIPT = """
import xarray as xr
import xconverge as xc

reps = xc.open_representations("study.zarr", "vision")
reveal_type(xc.dispersion(reps, "cosine"))
reveal_type(xc.io.read_npz)
with xc.ModelWriter("study.zarr", "vision", "vit", ["a"], 3) as writer:
    reveal_type(writer.pending)
xc.dispersions(reps)
xc.dispersion(reps, min_models="two")
"""


def test_types_of_the_lazy_names_are_found_in_what_is_installed(wheel, tmp_path):
    """As a type checker of a user meets it: no plugin, no path, the wheel alone."""
    pytest.importorskip("mypy")
    home = tmp_path / "env"
    venv.create(home, with_pip=False, symlinks=os.name != "nt")
    (site,) = (
        home.glob("lib/python*/site-packages") if os.name != "nt" else [home / "Lib/site-packages"]
    )
    shutil.unpack_archive(wheel, site, "zip")
    # what it needs, which is installed here
    (site / "needs.pth").write_text(sysconfig.get_path("purelib"), "utf-8")
    (tmp_path / "script.py").write_text(SCRIPT, "utf-8")
    (python,) = [*home.glob("bin/python"), *home.glob("Scripts/python.exe")]
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", python, "script.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    said = done.stdout
    assert 'Revealed type is "xarray.core.dataarray.DataArray"' in said, said
    assert said.count("DataArray") >= 2
    assert re.search(r'Revealed type is "(builtins\.)?list\[', said), said
    assert '"dispersions"' in said.split("Module has no attribute ")[1].splitlines()[0]
    assert 'Argument "min_models" to "dispersion" has incompatible type "str"' in said
    assert "Found 2 errors" in said, said
