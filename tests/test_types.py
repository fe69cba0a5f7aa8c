"""A type checker finds the types of calls of the package."""

import subprocess
import sys
from pathlib import Path

import pytest

import minisbert

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_types_follow_the_arguments():
    """mypy finds the types that typed_calls.py states, and the errors that it expects."""
    command = [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml"]
    checked = subprocess.run(
        [*command, "tests/typed_calls.py"], cwd=ROOT, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_package_says_that_it_is_typed():
    """PEP 561's marker is beside the code, and is installed with it."""
    assert (Path(minisbert.__file__).parent / "py.typed").is_file()
    assert 'minisbert = ["py.typed", ' in (ROOT / "pyproject.toml").read_text("utf-8")
