"""The floors of the package, as `minisbert/__init__.py` lists them, are kept."""

import ast
import re
from pathlib import Path

import minisbert
from count_lines import count_listed, read_counts

PACKAGE = Path(minisbert.__file__).parent


def read_floors() -> dict[str, tuple[int, int]]:
    """Module name -> (floor, place on the floor), from the docstring of the package."""
    floors = re.findall(r"^floor (\d): (.+)$", minisbert.__doc__, re.MULTILINE)
    names = [(name, int(floor)) for floor, line in floors for name in line.split()]
    return {name: (floor, place) for place, (name, floor) in enumerate(names)}


def find_imports(source: str) -> set[str]:
    """Modules of the package that a source imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("minisbert."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.ImportFrom) and node.module == "minisbert":
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            found.update(
                alias.name.split(".")[1]
                for alias in node.names
                if alias.name.startswith("minisbert.")
            )
    return found


def find_upward_imports(sources: dict[str, str], floors: dict[str, tuple[int, int]]) -> list[str]:
    return [
        f"{name} imports {other}"
        for name, source in sources.items()
        for other in find_imports(source)
        if other in floors and floors[other] >= floors[name]
    ]


def test_imports_point_down():
    """Every module imports only from lower floors, or from modules listed before it on its own."""
    sources = {path.stem: path.read_text("utf-8") for path in PACKAGE.glob("*.py")}
    floors = read_floors()
    assert set(sources) == set(floors)
    assert find_upward_imports(sources, floors) == []


def test_upward_import_is_found():
    """The check above rejects an import that points up, even inside a function."""
    floors = {"low": (0, 0), "lower": (0, 1), "high": (1, 0)}
    sources = {"low": "def f():\n    from minisbert.high import g", "high": "import minisbert.low"}
    assert find_upward_imports(sources, floors) == ["low imports high"]


def test_readme_lists_every_file_with_its_lines():
    """The README's tables name every module and C file, with the true number of lines."""
    counts = read_counts()
    assert counts == count_listed()
    modules = {f"minisbert/{name}.py" for name in read_floors()} - {"minisbert/__init__.py"}
    assert modules | {"csrc/topk.h", "csrc/topk.c"} <= set(counts)
