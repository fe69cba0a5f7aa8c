"""Fields of JSON files follow their rules, or one sentence names field, file and rule."""

import json

import numpy as np
import pytest

from minisbert.arguments import shorten
from minisbert.system.json_fields import (
    COUNT,
    FLAG,
    FRACTION,
    OBJECT,
    SIZE,
    STRING,
    STRINGS,
    Fields,
    check_relative,
    one_of,
    read_fields,
)


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (COUNT, [0, 7], [-1, True, 1.0, "1"]),
        (SIZE, [1, 7], [0, False, 1.0]),
        (FRACTION, [0, 0.5], [1, -0.1, True, "0"]),
        (FLAG, [True, False], [0, 1, "true"]),
        (STRING, ["", "a"], [1, ["a"]]),
        (STRINGS, [{}, {"a": "b"}], [{"a": 1}, ["a"]]),
        (OBJECT, [{}, {"a": 1}], [[], "a"]),
        (one_of("a", None), ["a"], ["b", 1]),
    ],
)
def test_rules(tmp_path, rule, good, bad):
    """A value that follows the rule is returned, another is refused with field, file and value."""
    path = tmp_path / "config.json"
    for value in good:
        assert Fields(path, {"name": value}).find("name", rule) == value
    for value in bad:
        with pytest.raises(ValueError, match=r"^name in .*config\.json must be .*, got ") as error:
            Fields(path, {"name": value}).find("name", rule)
        assert str(error.value).endswith(f"must be {rule.expected}, got {value!r}; {rule.advice}")


@pytest.mark.parametrize("content", [{}, {"name": None}])
def test_missing_field(tmp_path, content):
    """A field that is missing or null has the default, and without one it is an error."""
    fields = Fields(tmp_path / "config.json", content)
    assert fields.find("name", SIZE, 3) == 3
    assert fields.find("name", SIZE, None) is None
    with pytest.raises(ValueError, match=r"^name in .* must be a whole .*, but it is missing; "):
        fields.find("name", SIZE)


def test_missing_file(tmp_path):
    """A missing file is an error, unless it may be missing; then it has no fields."""
    assert read_fields(tmp_path / "config.json", missing_ok=True).content == {}
    with pytest.raises(FileNotFoundError, match=r"config\.json must be a file"):
        read_fields(tmp_path / "config.json")


def test_long_values_are_shortened(tmp_path):
    """An error shows only the beginning of a huge value, on one line."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(list(range(10_000))), "utf-8")
    with pytest.raises(ValueError, match=r"got \[0, 1, 2") as error:
        read_fields(path)
    assert len(str(error.value)) < 300 + len(str(tmp_path))
    assert shorten("a\nb") == r"'a\nb'"
    assert len(shorten("a" * 1000)) == 80
    assert shorten(np.zeros((2, 2))) == "array([[0., 0.], [0., 0.]])"
    assert shorten(10**5000) == "<int>"


def test_relative_paths(tmp_path):
    """A path that stays inside the directory is returned, one that leaves it is refused."""
    for path in ("", "a", "a/b.json", "a/..b"):
        assert check_relative(path, tmp_path) == path
    for path in ("/a", "..", "a/../b", "a\\b", "C:a", "a\0", "a" * 256):
        with pytest.raises(ValueError, match="must be relative and stay inside the model dir"):
            check_relative(path, tmp_path)
