"""The exercises are open, their solutions are right, and wrong answers are rejected."""

import pytest
from checking import EXERCISES, HERE, list_checks, load_answer, main, report, run_check

SOLUTIONS = HERE / "solutions.py"

# An exercise, a text in its solution, and a text that replaces it and makes the solution wrong.
MISTAKES = """
1 | scores, -np.inf) | scores, 0)
1 | mask[:, None, None, :] == 1 | mask[:, None, :, None] == 1
1 | return exponentials | return 0.9 * exponentials
1 | counted.sum(axis=1) | mask.shape[1]
2 | [:, 0] = dpooled | [:] = dpooled[:, None]
2 | [:, 0] = dpooled | [:, -1] = dpooled
2 | np.zeros_like(sentences) | sentences
2 | return dsentences | return
3 | np.exp(-largest) + | 0 +
3 | labels[:, None] <= | labels[:, None] <
3 | labels[:, None] <= | labels[:, None] >=
3 | exponents.max(initial=0) | 0
3 | dloss * scale | scale
3 | dloss * scale | dloss
3 | scale=20.0 | scale=10.0
3 | return du, dv | return dv, du
4 | wrong.append(name) | pass
4 | rng.standard_normal(shape) | np.ones(shape)
4 | dnormalized * normalized) | dout * normalized)
5 | [np.float32(0)] | [np.float64(0)]
5 | lanes[i % 16] | lanes[i % 8]
5 | lanes[i] + lanes[i + half] | lanes[2 * i] + lanes[2 * i + 1]
5 | (False, -s, i) | (False, -s, -i)
5 | (True, 0, i) | (False, np.inf, i)
"""


def check_solutions(number, right="", wrong=""):
    """Run an exercise's checks on the solutions, one text in them replaced."""
    source = SOLUTIONS.read_text("utf-8")
    assert right in source
    answer = load_answer(SOLUTIONS, source.replace(right, wrong))
    return {run_check(check, answer)[0] for check in list_checks(number)}


@pytest.mark.parametrize("number", EXERCISES)
def test_solution_is_right(number):
    """A solution passes every check of its exercise."""
    assert check_solutions(number) == {"right"}


@pytest.mark.parametrize("mistake", MISTAKES.strip().splitlines())
def test_wrong_answer_is_rejected(mistake):
    """At least one check rejects a wrong answer."""
    assert "wrong" in check_solutions(*mistake.split(" | "))


@pytest.mark.parametrize("number", EXERCISES)
def test_open_exercise_says_what_to_fill_in(number, capsys):
    """An exercise in the repository is not solved, and the last line names the next function."""
    if "raise Unfinished" not in EXERCISES[number].read_text("utf-8"):
        pytest.skip(f"exercise {number} is filled in, so its open state is not checked")
    assert main([number]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("Next: fill in ")
    assert len(lines) <= len(list_checks(number)) + 2


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ("[:, 0] = dpooled", "is solved"),
        ("[:, 0] = 2 * dpooled", "dsentences[0, 0, 0] must be 7, got 14.0"),
        ("[:, 9] = dpooled", "IndexError: index 9 is out of bounds"),
        ("[:, = dpooled", "cannot be run: SyntaxError: invalid syntax (answer.py, line "),
    ],
)
def test_report_is_in_plain_words(wrong, expected, tmp_path, capsys):
    """A report says what is wrong in a line or two for each check, without a traceback."""
    path = tmp_path / "answer.py"
    path.write_text(SOLUTIONS.read_text("utf-8").replace("[:, 0] = dpooled", wrong), "utf-8")
    assert report("2", path) == (expected == "is solved")
    out = capsys.readouterr().out
    assert expected in out
    assert len(out.splitlines()) <= 7


@pytest.mark.parametrize("arguments", [[], ["0"], ["6"], ["1", "2"], ["mask"]])
def test_bad_number_is_one_sentence(arguments, capsys):
    """A number without an exercise is refused in one sentence."""
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("N must be a whole number from 1 to 5, got ")
