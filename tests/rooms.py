"""The rooms of the package and their imports, read from the sources; nothing is imported here."""

import ast
import re
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "minisbert"
LISTED = re.compile(r"^    (\w+) ", re.MULTILINE)


def read_docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text("utf-8")), clean=False) or ""


LISTED_NAMES = LISTED.findall(read_docstring(PACKAGE / "__init__.py"))
ROOMS = [name for name in LISTED_NAMES if (PACKAGE / name).is_dir()]


def read_places() -> dict[str, tuple[int, int]]:
    """Dotted name of every module -> (height of its room, place in it); imports go to lower ones.

    Rooms are listed from top to bottom, the files of a room from the first to be read.
    """
    places = {}
    for height, name in enumerate(reversed(LISTED_NAMES)):
        if name in ROOMS:
            files = LISTED.findall(read_docstring(PACKAGE / name / "__init__.py"))
            for place, file in enumerate([*files, "__init__"]):
                places[f"{name}.{file}"] = height, place
        else:
            places[name] = height, 0
    return places


def name_module(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def find_imports(source: str) -> set[str]:
    """Modules of the package that a source imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "minisbert":
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("minisbert."):
            module = node.module.removeprefix("minisbert.")
            if module in ROOMS:  # a file of the room, or a name that the room exports
                files = {path.stem for path in (PACKAGE / module).glob("*.py")}
                found.update(
                    f"{module}.{alias.name if alias.name in files else '__init__'}"
                    for alias in node.names
                )
            else:
                found.add(module)
        elif isinstance(node, ast.Import):
            names = (alias.name for alias in node.names)
            found.update(
                name.removeprefix("minisbert.") for name in names if name.startswith("minisbert.")
            )
    return found


def find_upward_imports(sources: dict[str, str], places: dict[str, tuple[int, int]]) -> list[str]:
    return [
        f"{name} imports {other}"
        for name, source in sources.items()
        for other in find_imports(source)
        if other in places and places[other] >= places[name]
    ]


def read_sources() -> dict[str, str]:
    return {name_module(path): path.read_text("utf-8") for path in PACKAGE.rglob("*.py")}


def find_foreign_imports(source: str) -> set[str]:
    """Packages that are neither this one, nor NumPy, nor the standard library."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
    return found - {"minisbert", "numpy", *sys.stdlib_module_names}
