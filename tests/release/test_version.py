"""Versions from tags: of a release, after one, without tags, without git, in an sdist."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import xconverge as xc

pytest.importorskip("hatchling")
pytest.importorskip("hatch_vcs")
pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
ROOT = Path(xc.__file__).parents[1]


def git(folder, *words):
    who = {
        f"GIT_{role}_{what}": "x@y.z"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")} | who
    done = subprocess.run(["git", *words], cwd=folder, env=env, check=True, capture_output=True)
    return done.stdout.decode().strip()


def version(folder, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "version"],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def folder(tmp_path):
    """What a build reads first; its package is empty."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "xconverge").mkdir()
    (tmp_path / "xconverge" / "__init__.py").touch()
    return tmp_path


@pytest.fixture
def clone(folder):
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    return folder


def test_a_folder_that_is_no_clone_says_the_release_to_come(folder):
    assert version(folder) == "0.2.0.dev0"


@pytest.mark.slow
def test_a_clone_without_tags_counts_to_the_release_to_come(clone):
    commit = git(clone, "rev-parse", "HEAD")[:7]
    assert re.fullmatch(rf"0\.2\.0\.dev1\+g{commit}\w*", version(clone))


@pytest.mark.slow
def test_tags_of_releases_are_versions_and_no_others(clone):
    for tag in ("demo-9", "paper", "1.0"):
        git(clone, "tag", tag)
    git(clone, "tag", "v0.3.0")
    assert version(clone) == "0.3.0"
    git(clone, "commit", "-q", "--allow-empty", "-m", "two")
    git(clone, "tag", "x-2")
    assert re.fullmatch(r"0\.3\.1\.dev1\+g\w+", version(clone))
    git(clone, "tag", "v0.4.0rc1")
    assert version(clone) == "0.4.0rc1"
    (clone / "README.md").write_text("changed", "utf-8")
    assert re.fullmatch(r"0\.4\.0rc2\.dev0\+g\w+\.d\d{8}", version(clone))


@pytest.mark.slow
def test_a_machine_without_git_says_the_release_to_come(clone, tmp_path_factory):
    assert version(clone, PATH=str(tmp_path_factory.mktemp("empty"))) == "0.2.0.dev0"


@pytest.mark.slow
def test_an_sdist_keeps_the_version_it_was_made_with(clone, tmp_path_factory):
    pytest.importorskip("build")
    git(clone, "tag", "v0.3.0")
    out = tmp_path_factory.mktemp("out")
    command = [sys.executable, "-m", "build", "-q", "--sdist", "--no-isolation", "-o", out, clone]
    subprocess.run(command, check=True, capture_output=True)
    shutil.unpack_archive(out / "xconverge-0.3.0.tar.gz", out, filter="data")
    assert version(out / "xconverge-0.3.0") == "0.3.0"
