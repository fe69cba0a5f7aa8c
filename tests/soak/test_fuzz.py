"""Damaged files give right answers or documented errors: 200,000 seeded cases and more."""

import pytest
from soak.fuzz import print_tally, run_in_children
from soak.fuzz_targets import TARGETS


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_damaged_files(target, capsys):
    """No case ends in a fault, as `soak.fuzz` defines them."""
    tally = run_in_children(target, range(target.count))
    with capsys.disabled():
        print_tally(target, tally, 0)
    assert not tally.faults


def test_the_full_run_has_200_000_cases():
    """The counts of all targets together."""
    assert sum(target.count for target in TARGETS.values()) >= 200_000
