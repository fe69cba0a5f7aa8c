"""A short run of the fuzzing in tests/soak: the same targets and classes of faults."""

import pytest
from soak.fuzz import run_cases
from soak.fuzz_targets import TARGETS, Target, Wrong

CASES = 40
CASES_OF_TRAININGS = 10  # each one trains


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_damaged_files(target, tmp_path):
    """Right answers and documented errors of one sentence come out, nothing else."""
    cases = CASES_OF_TRAININGS if target.name == "checkpoint" else CASES
    tally = run_cases(target, range(cases), tmp_path / "bench")
    assert not tally.faults
    assert sum(tally.classes.values()) == cases


def _fail(error):
    raise error


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        (lambda: {}["codes"], "FAULT KeyError"),
        (lambda: "\ud800".encode(), "FAULT UnicodeEncodeError"),
        (lambda: _fail(ValueError("must be\none line; no")), "FAULT no sentence"),
        (lambda: _fail(ValueError("must be short" * 50)), "FAULT no sentence"),
        (lambda: _fail(ValueError("bad value")), "FAULT no sentence"),
        (lambda: _fail(Wrong("a row too many")), "FAULT wrong"),
        (lambda: bytearray(100 << 20) and None, "FAULT memory"),
    ],
)
def test_faults_are_found(tmp_path, call, fault):
    """A target that misbehaves whenever its file is damaged is caught."""

    def read(folder):
        return (folder / "file").read_bytes() == b"whole" or call()

    target = Target("faulty", lambda folder: (folder / "file").write_bytes(b"whole"), read, 0)
    tally = run_cases(target, range(20), tmp_path / "bench")
    assert tally.classes[fault] > 10
