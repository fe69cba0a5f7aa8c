"""The description of the machine that a measurement ran on."""

from importlib.metadata import PackageNotFoundError, version

import pytest

from minisbert.costs.machine import describe_machine


def test_packages_are_told_where_they_are_asked_for():
    """Versions of packages are named in their order, after Python's, and only if asked for."""
    facts = describe_machine("tokenizers", "tqdm")
    assert list(facts)[1:3] == ["Python", "packages"]
    assert facts["packages"] == f"tokenizers {version('tokenizers')}, tqdm {version('tqdm')}"
    assert "packages" not in describe_machine()
    with pytest.raises(PackageNotFoundError):
        describe_machine("no-such-package")
