"""The public surface, what every result says of itself, and the arrows between layers."""

import ast
import inspect
import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import xconverge as xc
from tests.helpers import make_reps

PACKAGE = Path(xc.__file__).parent
NO_CALLS = ("DamagedStoreError", "SchemaError", "UnalignedSpaceWarning")


def public_names():
    return [name for name in xc.__all__ if name not in NO_CALLS]


def test_all_is_the_public_surface():
    bound = {
        name
        for name, value in vars(xc).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert bound == set(xc.__all__)
    assert sorted(xc.__all__, key=str) == list(xc.__all__)


@pytest.mark.parametrize("name", public_names())
def test_docstrings_are_whole(name):
    text = inspect.getdoc(getattr(xc, name))
    for section in ("Parameters", "Raises", "Examples"):
        assert f"{section}\n{'-' * len(section)}" in text, section
    for parameter in inspect.signature(getattr(xc, name)).parameters:
        assert parameter in text, parameter


def results():
    a, b = make_reps(3, 12, [5, 6, 4]), make_reps(2, 12, [4, 6], seed=1)
    shared = make_reps(3, 12, 5)
    by = xc.dispersion(a, "rdm")
    yield "dispersion", "distance", xc.dispersion(shared)
    yield "dispersion", "distance", by
    yield "alignment", "similarity", xc.alignment(a, b, k=3)
    yield "rdm", "distance", xc.rdm(a)
    yield "rsa", "similarity", xc.rsa(xc.rdm(a), xc.rdm(b))
    yield "local_density", "similarity", xc.local_density(a, 3)
    yield "bin", "label", xc.dispersion_bins(by)
    effect = xc.modulation(by, xc.alignment(a, b, k=3), n_bins=2, n_permutations=9)
    yield "correlation", "similarity", effect["correlation"]
    yield "p_value", "probability", effect["p_value"]
    table = xc.binned_rsa(a, b, by, 2, n_permutations=9)
    yield "rsa", "similarity", table["rsa"]
    yield "n_stimuli", "count", table["n_stimuli"]
    space = xc.shared_space(a)
    yield "aligned", "value", space["aligned"]
    yield "residual_component", "value", xc.residual_component(space["residual"])
    yield "rank", "label", xc.select_stimuli(by, 4)["rank"]
    chosen = xc.optimize_stimuli(a, 5, leave_out="model", rng=0)
    yield "agreement", "similarity", chosen["agreement"]
    yield "stability", "similarity", chosen["stability"]


@pytest.mark.parametrize(("name", "kind", "result"), list(results()))
def test_results_say_what_they_are(name, kind, result):
    assert result.name == name
    assert result.attrs["kind"] == kind
    assert result.attrs["xconverge_version"] == xc.__version__
    assert {"long_name", "units"} <= set(result.attrs)
    json.dumps(result.attrs)


def test_the_readmes_example_runs():
    readme = (PACKAGE.parent / "README.md").read_text("utf-8")
    code = readme.split("```python\n")[1].split("```")[0]
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["spread"].dims == ("stimulus",)
    assert names["agreement"].dims == ("model_a", "model_b", "stimulus")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("statistics.md", 7),
        ("scaling.md", 2),
        ("selection.md", 9),
        ("model-selection.md", 2),
        ("interop.md", 3),
        ("extraction.md", 1),
    ],
)
def test_the_snippets_of_a_page_run(name, count):
    page = (PACKAGE.parent / "docs" / name).read_text("utf-8")
    snippets = [part.split("```")[0] for part in page.split("```python\n")[1:]]
    assert len(snippets) == count
    exec(compile("\n".join(snippets), name, "exec"), {})


def test_the_page_of_measures_is_that_of_the_tables():
    docs = PACKAGE.parent / "docs"
    page = (docs / "measures.md").read_text("utf-8")
    generated = runpy.run_path(str(docs / "generate" / "measures.py"))["page"]()
    assert page == generated, "run: python docs/generate/measures.py"
    for metric in ("consensus", "cknna", "sqeuclidean", "rho-a"):
        assert f"### {metric}" in page


def test_inputs_keep_their_attrs():
    reps = make_reps(3, 12, 5)
    before = dict(reps.attrs)
    xc.dispersion(reps)
    xc.alignment(reps, reps, k=3)
    assert reps.attrs == before


def imported(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


# upwards; what stands on one line does not know each other
FLOORS = [["labels", "kernels"], ["engine"], ["measures"], ["inference"], ["study"]]
BESIDE = {
    "io": {"labels", "kernels", "engine", "measures"},
    "torch": {"labels", "kernels", "measures"},
}
FACES = {"cli", "plot", "report", "accessor"}


def rooms(path):
    """The rooms of the house that a file imports from."""
    return {n.split(".")[1] for n in imported(path) if n.startswith("xconverge.")}


@pytest.mark.parametrize("path", sorted((PACKAGE / "kernels").glob("*.py")), ids=lambda p: p.name)
def test_kernels_know_no_labels(path):
    names = set(imported(path))
    assert not {n for n in names if n.split(".")[0] in ("xarray", "dask", "pandas", "zarr")}
    assert rooms(path) <= {"kernels"}


def test_arrows_point_one_way():
    below: set[str] = set()
    for floor in FLOORS:
        for room in floor:
            for path in sorted((PACKAGE / room).rglob("*.py")):
                # a study may be asked of a store by its path
                allowed = {room, *below} | ({"io"} if path.name == "analysis.py" else set())
                assert rooms(path) <= allowed, (path, rooms(path) - allowed)
        below |= set(floor)
    for room, allowed in BESIDE.items():
        for path in sorted((PACKAGE / room).rglob("*.py")):
            assert rooms(path) <= {room, *allowed}, path


def test_nothing_imports_the_faces():
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] not in FACES | {"__init__.py"}:
            assert not rooms(path) & FACES, path


def test_importing_loads_nothing_that_is_needed_later():
    later = ["zarr", "distributed", "faiss", "matplotlib", "rich", "scipy.stats", "torch"]
    later += ["h5py", "h5netcdf", "netCDF4", "rsatoolbox"]  # pandas 3 itself loads pyarrow
    code = f"import sys, xconverge; print([name for name in {later} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "[]"


def test_without_torch_an_error_says_what_to_install():
    code = "import sys; sys.modules['torch'] = None; import xconverge.torch"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 1
    assert "ImportError: xconverge.torch needs PyTorch" in run.stderr
    assert "pip install 'xconverge[torch]'" in run.stderr


@pytest.mark.slow
def test_a_cluster_gives_the_same_numbers():
    distributed = pytest.importorskip("distributed")
    a, b = make_reps(3, 20, [5, 6, 4]), make_reps(2, 20, [4, 6], seed=1)
    shared = make_reps(5, 20, 6)
    expected = [
        xc.dispersion(shared.chunk(model=2, stimulus=7)).compute(scheduler="threads"),
        xc.alignment(a, b, k=3),
        xc.rsa(xc.rdm(a), xc.rdm(b)),
    ]
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", processes=True
    )
    with cluster, distributed.Client(cluster):
        found = [
            xc.dispersion(shared.chunk(model=2, stimulus=7).persist()).compute(),
            xc.alignment(a.chunk(model=1), b.chunk(model=1), k=3).compute(),
            xc.rsa(xc.rdm(a.chunk(model=1)), xc.rdm(b.chunk(model=1))).compute(),
        ]
    for one, other in zip(found, expected, strict=True):
        xr.testing.assert_allclose(one, other, rtol=1e-13)
        assert np.isfinite(one).any()
