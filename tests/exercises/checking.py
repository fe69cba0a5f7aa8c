"""Run the checks of an exercise on an answer, and print what is right and what is wrong."""

import sys
import traceback
import warnings
from pathlib import Path
from types import ModuleType

import checks

HERE = Path(__file__).resolve().parent
EXERCISES = {path.stem.split("_")[1]: path for path in sorted(HERE.glob("exercise_*.py"))}


class Unfinished(Exception):
    """Raised by a function that the reader has not filled in yet."""


def main(arguments):
    """Check one exercise; return 0 if it is solved, 1 if not, 2 if its number is wrong."""
    number = " ".join(arguments)
    if number not in EXERCISES:
        print(
            f"N must be a whole number from 1 to {len(EXERCISES)}, got {number or 'nothing'}; "
            "run for example: make exercise N=1",
            file=sys.stderr,
        )
        return 2
    return 0 if report(number, EXERCISES[number]) else 1


def report(number, path):
    """Print one or two lines for each check of a file's answer; return whether all are right."""
    try:
        answer = load_answer(path)
    except Exception as error:
        print(f"{path.name} cannot be run: {describe(error, path)}")
        return False
    states, steps = [], []
    for check in list_checks(number):
        state, remark = run_check(check, answer)
        states.append(state)
        print(f"  {state:6} {check.__doc__}")
        if state == "open":
            steps.append(f"Next: {remark} in {path.name}, then run this again.")
        elif remark:
            print(f"         {remark}")
    if set(states) == {"right"}:
        steps = [f"Exercise {number} is solved; solutions.py holds another answer."]
    print([*steps, f"Not solved yet: {states.count('right')} of {len(states)} are right."][0])
    return set(states) == {"right"}


def list_checks(number):
    """Return the checks of an exercise in the order in which they are written."""
    return [value for name, value in vars(checks).items() if name.startswith(f"check_{number}_")]


def run_check(check, answer):
    """Return "right", "wrong" or "open", and a remark of one line or None."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # an overflow is a mistake, as it is under pytest
            return "right", check(answer)
    except Unfinished as unfinished:
        return "open", str(unfinished)
    except Exception as error:
        return "wrong", describe(error, Path(answer.__file__))


def describe(error, path):
    """Return a check's error text; of any other error its type, text and line in the answer."""
    text = " ".join(str(error).split())
    if isinstance(error, AssertionError) and text:
        return text
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    place = f" ({path.name}, line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {text}{place}"


def load_answer(path, source=None):
    """Run a Python file, or `source` instead of its text, and return it as a module."""
    answer = ModuleType(path.stem)
    answer.__file__ = str(path)
    exec(compile(source or path.read_text("utf-8"), str(path), "exec"), vars(answer))
    return answer
