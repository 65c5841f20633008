"""Readers on damaged files: the documented errors and nothing else, see ``fuzzing.py``."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and limits memory")


def fuzz(tmp_path, *arguments):
    script = Path(__file__).with_name("fuzzing.py")
    command = [sys.executable, "-P", str(script), "--keep", str(tmp_path), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.stdout, run.stderr
    return json.loads(run.stdout)


@pytest.mark.slow
def test_damaged_files_give_documented_errors(tmp_path):
    found = fuzz(tmp_path, "--count", "8")
    assert len(found) >= 13
    assert not any(found.values()), "\n".join(found.values())


@pytest.mark.slow
def test_many_damaged_files_give_documented_errors(tmp_path):
    found = fuzz(tmp_path, "--count", "12", "--seed", "0")
    assert not any(found.values()), "\n".join(found.values())
