"""Which names there are: on top, in xc.io and xc.plot, and when they are imported."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import xconverge as xc
import xconverge.io
import xconverge.plot

PACKAGE = Path(xc.__file__).parent
SUBMODULES = {"io", "plot", "report", "sklearn", "testing", "torch"}


def test_dir_shows_public_names_only():
    assert set(dir(xc)) == {*xc.__all__, *SUBMODULES}
    assert 45 <= len(xc.__all__) <= 62
    for name in xc.__all__:
        assert callable(getattr(xc, name))
    for name in SUBMODULES - {"sklearn", "torch"}:
        assert inspect.ismodule(getattr(xc, name))
    for module in (xc.io, xc.plot):
        assert dir(module) == sorted(module.__all__) == list(module.__all__)
        assert all(callable(getattr(module, name)) for name in module.__all__)
    assert not set(xc.io.__all__) & set(xc.__all__)
    for module in (xc, xc.io):
        with pytest.raises(AttributeError, match="attribute '?read_everything"):
            _ = module.read_everything


@pytest.mark.parametrize("module", [xc, xc.io])
def test_a_name_that_is_listed_is_the_one_of_its_module(module):
    tree = ast.parse(Path(module.__file__).with_suffix(".pyi").read_text("utf-8"))
    homes = {
        alias.asname: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    assert sorted(homes) == list(module.__all__)
    for name, home in homes.items():
        assert getattr(module, name).__module__ == f"{module.__name__}.{home}"


FOREIGN = {
    "from_xarray", "read_netcdf",  # the door
    "from_long", "from_allen", "read_allen",  # columns and dims that others named
    "from_trials", "read_trials",  # columns
    "from_rsatoolbox_dataset", "read_rsatoolbox_dataset",  # descriptors
    "from_rsatoolbox_rdms", "read_rsatoolbox_rdms", "to_rsatoolbox_models",
}  # fmt: skip


@pytest.mark.parametrize(
    ("module", "name"),
    [("io", name) for name in xc.io.__all__]
    + [("", n) for n in ("stack_models", "append_models", "write_representations", "write_study")],
)
def test_what_takes_our_arrays_takes_no_names_of_dims(module, name):
    function = getattr(getattr(xc, module) if module else xc, name)
    named = {
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default == parameter.name
    }
    assert name in FOREIGN or not named


@pytest.mark.slow
def test_io_loads_a_format_at_its_first_use():
    code = (
        "import sys, xconverge as xc; dir(xc); dir(xc.io); "
        "early = [n for n in sys.modules if n.startswith('xconverge.io.formats.')]; "
        "later = ('zarr', 'h5py', 'matplotlib', 'xconverge.plot'); "
        "early += [n for n in later if n in sys.modules]; "
        "xc.io.read_csv; xc.plot; xc.testing; "
        "print('xconverge.io.formats.frames' in early, 'xconverge.io.formats.allen' in early, "
        "'zarr' in early, 'xconverge.plot' in early, 'matplotlib' in sys.modules, "
        "'xconverge.io.formats.frames' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.split() == ["False", "False", "False", "False", "False", "True"]


def test_a_checkout_that_is_not_installed_says_what_to_run():
    # -S: no installed packages at all, as in a fresh environment
    code = f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); import xconverge"
    run = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True)
    assert run.returncode == 1
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: xconverge is not installed: run `python -m pip install -e")
    assert "importlib" not in run.stderr
    assert "During handling" not in run.stderr
