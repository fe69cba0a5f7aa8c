"""The reader's path, minisbert/README.md; its snippets run as doctests."""

import re
from pathlib import Path

import minisbert
from count_lines import CORE, ROOT

PAGE = Path(minisbert.__file__).parent / "README.md"


def list_links(page: str) -> list[str]:
    """Return the Python files that a page of the package links to, in order."""
    return [f"minisbert/{path}" for path in re.findall(r"\]\(([\w/]+\.py)\)", page)]


def test_reading_list_is_the_core():
    """The page links to every file of the core, in reading order."""
    assert list_links(PAGE.read_text("utf-8")) == list(CORE)


def test_list_of_links_finds_another_order():
    """The check above finds an order that is not the core's, and ignores links to other files."""
    page = "[b](network/bert.py), [a](arrays.py), [topk](../csrc/topk.h), `config.py`"
    assert list_links(page) == ["minisbert/network/bert.py", "minisbert/arrays.py"]


def test_every_chapter_is_linked():
    """Each room that has a chapter is linked from the page."""
    page = PAGE.read_text("utf-8")
    rooms = {path.parent.name for path in (ROOT / "minisbert").glob("*/README.md")}
    assert rooms <= set(re.findall(r"\]\((\w+)/README\.md\)", page))
