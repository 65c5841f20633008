"""The public surface, what every result says of itself, and the arrows between layers."""

import ast
import inspect
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import dask
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
    submodules = {"io", "plot", "report", "sklearn", "testing", "torch"}
    bound = {n for n in {*dir(xc)} - submodules if not inspect.ismodule(getattr(xc, n))}
    assert bound == set(xc.__all__)
    assert sorted(xc.__all__, key=str) == list(xc.__all__)


@pytest.mark.parametrize("name", public_names())
def test_docstrings_are_whole(name):
    text = inspect.getdoc(getattr(xc, name))
    for section in ("Parameters", "Raises", "Examples"):
        assert f"{section}\n{'-' * len(section)}" in text, section
    for parameter in inspect.signature(getattr(xc, name)).parameters:
        assert parameter in text, parameter


@pytest.mark.parametrize("name", public_names())
def test_a_name_means_one_thing(name):
    """Sets are cut, translated and averaged by `pair` alone; `by` makes groups of models."""
    parameters = inspect.signature(getattr(xc, name)).parameters
    # stack_models joins single models into one set
    elsewhere = {"pair": {"join", "repeats"}, "stack_models": {"join"}}
    taken = set(parameters) & {"join", "pair_on", "repeats", "measure"}
    assert taken <= elsewhere.get(name, set())
    named = {p.name for p in parameters.values() if p.default == p.name}  # model="model"
    assert not named or name == "from_xarray"
    assert "by" not in parameters or name in ("dispersion", "shared_space")
    assert "rng" not in parameters or parameters["rng"].default is None


@pytest.fixture(scope="module")
def sides():
    return make_reps(4, 24, [5, 6, 4, 5]), make_reps(3, 24, [4, 6, 5], seed=1)


@pytest.fixture(scope="module")
def results():
    a, b = make_reps(3, 12, [5, 6, 4]), make_reps(2, 12, [4, 6], seed=1)
    spread = xc.dispersion(a, "rdm")
    agreement = xc.alignment(a, b, k=3)
    effect = xc.modulation(spread, agreement, n_bins=2, n_permutations=9, null="labels")
    table = xc.binned_rsa(a, b, spread, 2, n_permutations=9)
    space = xc.shared_space(a)
    chosen = xc.optimize_stimuli(a, 5, leave_out="model", rng=0)
    return {
        "coordinate dispersion": xc.dispersion(make_reps(3, 12, 5)),
        "dispersion": spread,
        "alignment": agreement,
        "rdm": xc.rdm(a),
        "rsa": xc.rsa(xc.rdm(a), xc.rdm(b)),
        "local_density": xc.local_density(a, 3),
        "duplicates": xc.find_duplicates(a, k=3),
        "bin": xc.dispersion_bins(spread),
        "correlation": effect["correlation"],
        "p_value": effect["p_value"],
        "rsa of bins": table["rsa"],
        "rsa of centers": xc.searchlight(a, b, neighborhoods=[[0, 1, 2], [1, 2, 3]])["rsa"],
        "n_stimuli": table["n_stimuli"],
        "aligned": space["aligned"],
        "residual_component": xc.residual_component(space["residual"]),
        "rank": xc.select_stimuli(spread, 4)["rank"],
        "agreement": chosen["agreement"],
        "stability": chosen["stability"],
    }


@pytest.mark.parametrize(
    ("which", "name", "kind"),
    [
        ("coordinate dispersion", "dispersion", "distance"),
        ("dispersion", "dispersion", "distance"),
        ("alignment", "alignment", "similarity"),
        ("rdm", "rdm", "distance"),
        ("rsa", "rsa", "similarity"),
        ("local_density", "local_density", "similarity"),
        ("duplicates", "duplicates", "label"),
        ("bin", "bin", "label"),
        ("correlation", "correlation", "similarity"),
        ("p_value", "p_value", "probability"),
        ("rsa of bins", "rsa", "similarity"),
        ("rsa of centers", "rsa", "similarity"),
        ("n_stimuli", "n_stimuli", "count"),
        ("aligned", "aligned", "value"),
        ("residual_component", "residual_component", "value"),
        ("rank", "rank", "label"),
        ("agreement", "agreement", "similarity"),
        ("stability", "stability", "similarity"),
    ],
)
def test_results_say_what_they_are(results, which, name, kind):
    result = results[which]
    assert result.name == name
    assert result.attrs["kind"] == kind
    assert result.attrs["xconverge_version"] == xc.__version__
    assert {"long_name", "units"} <= set(result.attrs)
    json.dumps(result.attrs)


def spread_of(reps):
    return xc.dispersion(reps, "neighborhood", k=4)


def trials_of(reps):
    """Models of one width as if they were repetitions of one."""
    return reps.isel(model=[0, 3, 0, 3]).drop_vars("model").rename(model="repetition")


# each of two sets and a seed
RANDOM = {
    "alignment": lambda a, b, rng: xc.alignment(a, b, "svcca", n_components=2, folds=3, rng=rng),
    "shared_space": lambda a, b, rng: xc.shared_space(a, folds=3, n_restarts=1, rng=rng),
    "neighbor_graph": lambda a, b, rng: xc.neighbor_graph(
        a, 3, neighbors="approximate", n_checked=9, rng=rng
    ),
    "calibrate": lambda a, b, rng: xc.calibrate(a, b, k=3, n_permutations=19, rng=rng),
    "calibrate_rsa": lambda a, b, rng: xc.calibrate_rsa(
        xc.rdm(a), xc.rdm(b), n_permutations=19, rng=rng
    ),
    "cross_temporal_rsa": lambda a, b, rng: xc.cross_temporal_rsa(
        *(xc.rdm(side).expand_dims(time=[0.0, 0.1]) for side in (a, b)), n_permutations=19, rng=rng
    ),
    "confidence_interval": lambda a, b, rng: xc.confidence_interval(
        a, b, "cka", n_resamples=20, rng=rng
    ),
    "reliability": lambda a, b, rng: xc.reliability(a, "rdm", n_splits=3, rng=rng),
    "alignment_reliability": lambda a, b, rng: xc.alignment_reliability(
        a, b, k=3, n_splits=3, rng=rng
    ),
    "modulation": lambda a, b, rng: xc.modulation(
        spread_of(a), xc.alignment(a, b, k=3), n_bins=2, n_permutations=19, rng=rng, null="labels"
    ),
    "leave_out_modulation": lambda a, b, rng: xc.leave_out_modulation(
        a, b, "neighborhood", nuisance=(), k=3, n_bins=2, n_permutations=19, rng=rng, null="labels"
    ),
    "binned_rsa": lambda a, b, rng: xc.binned_rsa(
        a, b, spread_of(a), 2, n_permutations=19, rng=rng
    ),
    "binned_rsa_contrast": lambda a, b, rng: xc.binned_rsa_contrast(
        a, b, spread_of(a), 2, n_permutations=19, rng=rng, null="labels"
    ),
    "trial_reliability": lambda a, b, rng: xc.trial_reliability(trials_of(a), n_splits=2, rng=rng),
    "trial_ceiling": lambda a, b, rng: xc.trial_ceiling(trials_of(a), n_splits=2, rng=rng),
    "subset_contrast": lambda a, b, rng: xc.subset_contrast(
        spread_of(a), a, b, size=8, k=3, n_random=19, rng=rng, null="labels"
    ),
    "pool_curve": lambda a, b, rng: xc.pool_curve(a, b, [12, 24], k=3, n_repeats=2, rng=rng),
    "select_stimuli": lambda a, b, rng: xc.select_stimuli(spread_of(a), 6, "random", rng=rng),
    "optimize_stimuli": lambda a, b, rng: xc.optimize_stimuli(
        a, 6, n_restarts=1, n_perturbations=1, rng=rng
    ),
    "select_models": lambda a, b, rng: xc.select_models(
        a, xc.rdm(b).isel(model=0, drop=True), n_bins=2, n_permutations=19, n_splits=2, rng=rng
    ),
    "cross_modal_prediction": lambda a, b, rng: xc.cross_modal_prediction(
        xc.alignment(a, b, k=3),
        spread_of(a),
        xc.rsa(xc.rdm(a), xc.rdm(b).isel(model=0, drop=True)).rename(model_a="model"),
        n_bins=2,
        n_permutations=19,
        rng=rng,
        null="labels",
    ),
}


@pytest.mark.slow_after(1)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of so few stimuli and models
@pytest.mark.parametrize("name", RANDOM)
def test_a_random_result_says_the_seed_that_gives_it_again(sides, name):
    first = RANDOM[name](*sides, None)
    assert type(first.attrs["seed"]) is int
    assert first.attrs["xconverge_version"] == xc.__version__
    json.dumps(first.attrs)
    xr.testing.assert_identical(RANDOM[name](*sides, first.attrs["seed"]), first)
    assert RANDOM[name](*sides, None).attrs["seed"] != first.attrs["seed"]
    assert RANDOM[name](*sides, 7).attrs["seed"] == 7


def test_every_function_that_draws_is_tried():
    drawing = {n for n in public_names() if "rng" in inspect.signature(getattr(xc, n)).parameters}
    assert drawing - set(RANDOM) == {"analyze"}  # made of these


def test_the_readmes_example_runs():
    readme = (PACKAGE.parent / "README.md").read_text("utf-8")
    code = readme.split("```python\n")[1].split("```")[0]
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["spread"].dims == ("stimulus",)
    assert names["agreement"].dims == ("model_a", "model_b", "stimulus")


def test_links_between_pages_lead_somewhere():
    root = PACKAGE.parent
    pages = [*(root / "docs").glob("*.md"), *(root / "examples").glob("*.md")]
    for page in [root / "README.md", *pages]:
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8")):
            if "://" not in link:
                assert (page.parent / link).exists(), (page.name, link)
        for path in re.findall(
            r"\b((?:docs|tests|examples|xconverge)/[\w./]+\.\w+)", page.read_text("utf-8")
        ):
            built = path.startswith("docs/_build/")
            assert built or (root / path).exists(), (page.name, path)


def defined(path):
    """Names at the top of a module: functions, classes, tables."""
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        yield from (target.id for target in targets if isinstance(target, ast.Name))


def test_what_the_map_of_the_code_names_is_there():
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text("utf-8")
    named = set(re.findall(r"`([\w/]+\.py)::(\w+)", page))
    assert len(named) > 40
    for path, name in sorted(named):
        files = [p for p in PACKAGE.rglob("*.py") if p.as_posix().endswith(f"/{path}")]
        assert name in {n for p in files for n in defined(p)}, (path, name)


NEEDED = {
    "anndata.md": ["anndata"],
    "himalaya.md": ["himalaya"],
    "nifti.md": ["nibabel"],
    "rsatoolbox.md": ["rsatoolbox"],
    "scikit-learn.md": ["sklearn"],
    "units.md": ["pynapple", "pynwb"],
}
"""Packages without which a page cannot run."""


@pytest.mark.slow_after(2)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("methods.md", 1),
        ("own-files.md", 6),
        ("scaling.md", 1),
        ("clusters.md", 1),
        ("statistics.md", 10),
        ("searchlight.md", 3),
        ("selection.md", 9),
        ("time.md", 5),
        ("figures.md", 3),
        ("report.md", 1),
        ("model-selection.md", 2),
        ("interop.md", 4),
        ("anndata.md", 1),
        ("nifti.md", 3),
        ("units.md", 3),
        ("recordings.md", 8),
        ("himalaya.md", 2),
        ("rsatoolbox.md", 3),
        ("scikit-learn.md", 2),
        ("architecture.md", 1),
        ("atlas.md", 4),
    ],
)
def test_the_snippets_of_a_page_run(name, count):
    for package in NEEDED.get(name, ()):
        pytest.importorskip(package)
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


def test_the_reference_lists_every_public_name():
    page = (PACKAGE.parent / "docs" / "api.md").read_text("utf-8")
    listed = {}
    for part in page.split(".. currentmodule:: ")[1:]:
        names = re.findall(r"^   (\w+)$", part, re.M)
        listed.setdefault(part.split("\n")[0], []).extend(names)
    assert sorted(listed["xconverge"]) == sorted(xc.__all__)
    assert listed["xconverge.io"] == xc.io.__all__
    assert listed["xconverge.plot"] == xc.plot.__all__
    assert sorted(listed["xconverge.report"]) == sorted(xc.report.__all__)


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
    "extraction": {"labels", "kernels", "engine", "io"},
}
FACES = {"cli", "plot", "report", "accessor", "sklearn"}


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
        if path.relative_to(PACKAGE).parts[0].removesuffix(".py") not in FACES | {"__init__"}:
            assert not rooms(path) & FACES, path


def test_importing_loads_nothing_that_is_needed_later():
    later = ["zarr", "distributed", "faiss", "matplotlib", "rich", "scipy.stats", "torch"]
    # pandas 3 itself loads pyarrow
    later += ["h5py", "h5netcdf", "netCDF4", "rsatoolbox", "himalaya", "sklearn"]
    code = f"import sys, xconverge; print([name for name in {later} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.slow
def test_without_scikit_learn_an_error_says_what_to_install():
    code = "import sys; sys.modules['sklearn'] = None; import xconverge.sklearn"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 1
    assert "ImportError: xconverge.sklearn needs scikit-learn" in run.stderr
    assert "pip install scikit-learn" in run.stderr


def test_without_torch_an_error_says_what_to_install():
    code = "import sys; sys.modules['torch'] = None; import xconverge.torch"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 1
    assert "ImportError: xconverge.torch needs PyTorch" in run.stderr
    assert "pip install 'xconverge[torch]'" in run.stderr


@pytest.mark.slow
def test_a_cluster_gives_the_same_numbers(client):
    a, b = make_reps(3, 20, [5, 6, 4]), make_reps(2, 20, [4, 6], seed=1)
    shared = make_reps(5, 20, 6)
    with dask.config.set(scheduler="threads"):
        expected = [
            xc.dispersion(shared.chunk(model=2, stimulus=7)).compute(),
            xc.alignment(a, b, k=3),
            xc.rsa(xc.rdm(a), xc.rdm(b)),
        ]
    found = [
        xc.dispersion(shared.chunk(model=2, stimulus=7).persist()).compute(),
        xc.alignment(a.chunk(model=1), b.chunk(model=1), k=3).compute(),
        xc.rsa(xc.rdm(a.chunk(model=1)), xc.rdm(b.chunk(model=1))).compute(),
    ]
    for one, other in zip(found, expected, strict=True):
        xr.testing.assert_allclose(one, other, rtol=1e-13)
        assert np.isfinite(one).any()
