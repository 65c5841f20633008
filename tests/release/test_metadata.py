"""What a release says of itself: extras, the recipe of conda-forge, Pythons, the changelog."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import xconverge as xc

ROOT = Path(xc.__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
PYTHONS = [
    text.rpartition(" ")[2]
    for text in PROJECT["classifiers"]
    if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", text)
]


def text_of(*parts):
    return ROOT.joinpath(*parts).read_text("utf-8")


# --- extras


def test_every_extra_has_its_row_and_every_row_its_extra():
    rows = re.findall(r"^\| (`[\w-]+`(?:, `[\w-]+`)*) \|", text_of("docs", "installing.md"), re.M)
    assert sorted(re.findall(r"[\w-]+", " ".join(rows))) == sorted(EXTRAS)


def test_what_is_said_to_be_installed_is_an_extra():
    files = [
        *(ROOT / "xconverge").rglob("*.py"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "examples").iterdir(),
        ROOT / "README.md",
    ]
    named = {
        name
        for path in files
        if path.is_file()
        for names in re.findall(r"xconverge\[([\w,-]+)\]", path.read_text("utf-8"))
        for name in names.split(",")
    }
    assert {"plot", "torch", "s3"} <= named <= set(EXTRAS)


def test_all_is_said_as_it_is():
    (own,) = EXTRAS["all"]
    names = re.fullmatch(r"xconverge\[([\w,-]+)\]", own)[1].split(",")
    page = text_of("docs", "installing.md")
    above = re.findall(r"^\| `(\w+)` \|", page.split("| `all` |")[0], re.M)
    assert sorted(above) == sorted(names)
    words = {5: "five", 6: "six", 7: "seven", 8: "eight"}
    assert f"| `all` | the {words[len(names)]} above |" in page


# --- the recipe of conda-forge

OTHER_NAMES = {"dask[array]": "dask-core", "lazy_loader": "lazy-loader"}


@pytest.fixture(scope="module")
def recipe():
    return yaml.safe_load(text_of(".ci", "recipe.yaml"))


def required(entries):
    """What pyproject.toml requires, as conda-forge names it."""
    parts = [entry.partition(">=") for entry in entries]
    return {f"{OTHER_NAMES.get(name, name)} >={bound}" for name, _, bound in parts}


def test_the_recipe_requires_what_the_package_does(recipe):
    python = PROJECT["requires-python"].removeprefix(">=")
    assert recipe["context"]["python_min"] == python
    assert recipe["context"]["name"] == PROJECT["name"]
    host, run = (recipe["requirements"][part] for part in ("host", "run"))
    assert set(run) - {"python >=${{ python_min }}"} == required(PROJECT["dependencies"])
    assert set(host) - {"python ${{ python_min }}.*", "pip"} == required(
        PYPROJECT["build-system"]["requires"]
    )
    assert host[0] == "python ${{ python_min }}.*"
    assert run[0] == "python >=${{ python_min }}"


def test_the_recipe_says_what_the_package_says(recipe):
    about, urls = recipe["about"], PROJECT["urls"]
    assert about["summary"] == PROJECT["description"]
    assert (about["license"], [about["license_file"]]) == (
        PROJECT["license"],
        PROJECT["license-files"],
    )
    places = (about["homepage"], about["repository"], about["documentation"])
    assert places == (urls["Homepage"], urls["Source"], urls["Documentation"])
    scripts = [f"{name} = {target}" for name, target in PROJECT["scripts"].items()]
    assert recipe["build"]["python"]["entry_points"] == scripts
    for name in recipe["tests"][0]["python"]["imports"]:
        __import__(name)
    for name in recipe["tests"][1]["files"]["source"]:
        assert (ROOT / name).is_file()
    # the sdist that the workflow of a release adds to it
    assert recipe["source"]["url"].startswith(f"{urls['Source']}/releases/download/v")
    assert re.fullmatch("[0-9a-f]{64}", recipe["source"]["sha256"])


def test_the_recipe_is_one_that_rattler_build_knows(recipe):
    rattler_build = pytest.importorskip("rattler_build")
    stage = rattler_build.Stage0Recipe.from_file(str(ROOT / ".ci" / "recipe.yaml"))
    (variant,) = stage.render(rattler_build.VariantConfig())
    found = variant.recipe.to_dict()
    assert len(found["requirements"]["run"]) == len(recipe["requirements"]["run"])
    assert found["build"]["noarch"] == "python"


# --- Pythons, workflows


def workflow(name):
    return yaml.safe_load(text_of(".github", "workflows", f"{name}.yml"))


def test_the_pythons_that_it_says_are_tested():
    assert PYTHONS == ["3.11", "3.12", "3.13", "3.14"]
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"
    assert workflow("ci")["jobs"]["pythons"]["strategy"]["matrix"]["python"] == PYTHONS
    page = text_of("docs", "installing.md")
    assert f"Python {PYTHONS[0]} to {PYTHONS[-1]}" in page


def test_a_release_is_built_checked_and_published_without_a_password():
    whole = workflow("release")
    assert whole[True] == {"push": {"tags": ["v*"]}}  # YAML reads `on` as true
    build, publish = whole["jobs"]["build"], whole["jobs"]["publish"]
    # no tags, no version
    assert build["steps"][0]["with"]["fetch-depth"] == 0
    commands = "\n".join(step.get("run", "") for step in build["steps"])
    for command in ("python -m build", "twine check --strict", "tests/release/smoke.py"):
        assert command in commands
    assert publish["needs"] == "build"
    assert publish["permissions"]["id-token"] == "write"
    assert "password" not in text_of(".github", "workflows", "release.yml")


# --- versions


def key(version):
    return tuple(int(part) for part in version.split("."))


def test_the_changelog_is_in_order_and_the_release_to_come_is_above_it():
    headings = re.findall(r"^## (.*)$", text_of("docs", "changelog.md"), re.M)
    assert headings[0] == "Unreleased"
    versions = [re.fullmatch(r"(\d+\.\d+\.\d+)( \(\d{4}-\d\d-\d\d\))?", h)[1] for h in headings[1:]]
    assert versions == sorted(versions, key=key, reverse=True)
    ahead = PYPROJECT["tool"]["hatch"]["version"]["fallback-version"]
    assert key(ahead.removesuffix(".dev0")) > key(versions[0])
    assert ahead.endswith(".dev0")


def test_no_page_names_a_version_that_goes_stale():
    cite = text_of("README.md").split("## How to cite")[1]
    assert "xconverge --version" in cite
    assert not re.findall(r"\{\d+\.\d+", cite)
