"""A corpus that every machine has: the docstrings of Python's standard library.

It has one entry for every public module, class and function with a docstring: its qualified name
and the docstring's first sentence. Modules written in Python are parsed, not imported. Those
written in C have no source here, so a child process imports them and prints their docstrings.
"""

from __future__ import annotations

import ast
import contextlib
import json
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

# Folders beside the library's modules that hold tests, programs and data, and a deprecated one.
_EXCLUDED_FOLDERS = {"test", "tests", "idlelib", "lib2to3", "pydoc_data", "turtledemo", "distutils"}

_DEFINITIONS = ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef

# The modules behind os, on Windows and elsewhere.
_SYSTEM_MODULES = {"nt", "posix"}

# Matches a paragraph such as "sleep(seconds) -> None", "w = csv.writer(file)" or "[or]".
_SIGNATURE = re.compile(r"(\w+ = )?[\w.]+\(|\[or\]$")

# Runs in a child process, since importing a C module can have side effects (readline writes to the
# terminal), and so that it finds only the library's own modules.
_PRINT_COMPILED_MODULES = """
import importlib.machinery as machinery, importlib.util, json, sys
modules = {}
for name in sorted(sys.stdlib_module_names):
    try:
        loader = importlib.util.find_spec(name).loader
        if loader is machinery.BuiltinImporter or isinstance(loader, machinery.ExtensionFileLoader):
            module = importlib.import_module(name)
            modules[name] = {"": module.__doc__ or ""}
            for member, value in vars(module).items():
                if callable(value) and isinstance(value.__doc__, str):
                    modules[name][member] = value.__doc__
    except Exception:  # a module that is not there, or not for this machine
        pass
json.dump(modules, sys.stdout)
"""


class Entry(NamedTuple):
    """A qualified name and the first sentence of its docstring."""

    name: str
    sentence: str


class Module(NamedTuple):
    """The docstrings, imports and exports of one module.

    docstrings  of its classes and functions by name, and its own under ""
    imports     pairs of a module and the set of names imported from it, {"*"} for all
    exports     the names in `__all__`; empty if they are computed
    """

    docstrings: dict[str, str]
    imports: Sequence[tuple[str, set[str]]] = ()
    exports: frozenset[str] = frozenset()


def read_standard_library() -> list[Entry]:
    """Read the entries of the running Python's standard library, sorted by name.

    A name is listed under the module where people look for it. Usually that is the module that
    defines it. It is the module that imports it if it comes from a private module (csv imports from
    _csv), or with a star from its own package or a C module (os imports from posix).
    """
    sources = {name: read_source(name, path) for name, path in _find_sources()}
    modules = _read_compiled_modules() | sources
    places = {
        (module, name): f"{module}.{name}" if name else module
        for module in modules
        if _is_public(module)
        for name in modules[module].docstrings
        if _is_public(name)
    }
    for module in filter(_is_public, sources):
        for origin, names in sources[module].imports:
            if origin not in modules:
                continue
            if names == {"*"} and (not _is_public(origin) or origin.startswith(module + ".")):
                names = {*(modules[origin].exports or modules[origin].docstrings)} - {""}
            elif _is_public(origin):
                continue
            for name in filter(_is_public, names & modules[origin].docstrings.keys()):
                places[origin, name] = f"{module}.{name}"
    entries = {
        place: find_first_sentence(modules[module].docstrings[name])
        for (module, name), place in places.items()
    }
    return [Entry(place, sentence) for place, sentence in sorted(entries.items()) if sentence]


def find_first_sentence(docstring: str) -> str:
    """Return a docstring up to its first full stop before a space or the end.

    Without one it is the first paragraph. Signatures in front are skipped.
    """
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", docstring.strip())]
    while len(paragraphs) > 1 and _SIGNATURE.match(paragraphs[0]):
        del paragraphs[0]
    return re.split(r"(?<=\.) ", paragraphs[0])[0]


def _is_public(name: str) -> bool:
    """Return whether no part of a dotted name is private."""
    return name not in _SYSTEM_MODULES and not any(part.startswith("_") for part in name.split("."))


def _find_sources() -> Iterator[tuple[str, Path]]:
    """Yield name and file of every module that is written in Python."""
    library = Path(sysconfig.get_path("stdlib"))
    for module in sorted(sys.stdlib_module_names):
        for path in (library / f"{module}.py", *sorted((library / module).rglob("*.py"))):
            parts = path.relative_to(library).with_suffix("").parts
            if path.exists() and not _EXCLUDED_FOLDERS & {*parts}:
                yield ".".join(parts).removesuffix(".__init__"), path


def _read_compiled_modules() -> dict[str, Module]:
    """Read the docstrings of the modules written in C."""
    # -I and -S keep modules of the current directory and of installed packages out.
    command = [sys.executable, "-I", "-S", "-W", "ignore", "-c", _PRINT_COMPILED_MODULES]
    child = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    # An import may print something too, before the last line.
    found = json.loads(child.stdout.splitlines()[-1])
    return {name: Module(docstrings) for name, docstrings in found.items()}


def read_source(module: str, path: Path) -> Module:
    """Read a module written in Python, without running it."""
    tree = ast.parse(path.read_bytes())
    docstrings = {"": ast.get_docstring(tree) or ""}
    imports, exports = [], frozenset[str]()
    for node in _iterate_statements(tree):
        if isinstance(node, _DEFINITIONS):
            # If there are several definitions, one for each system, the first counts.
            docstrings.setdefault(node.name, ast.get_docstring(node) or "")
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:  # one dot is the package; an __init__ is its own package
                parts = module.split(".")
                base = parts[: len(parts) - node.level + (path.stem == "__init__")]
                origin = ".".join([*base, origin]).rstrip(".")
            names = {alias.name for alias in node.names if alias.asname in (None, alias.name)}
            imports.append((origin, names))
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            with contextlib.suppress(ValueError):  # a computed one is ignored
                exports = frozenset(ast.literal_eval(node.value))
    return Module(docstrings, imports, exports)


def _iterate_statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements that run when a module is imported, under `try` and `if` too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (*_DEFINITIONS, ast.ImportFrom, ast.Assign)):
            yield node
        elif isinstance(node, (ast.Try, ast.If, ast.ExceptHandler)):
            yield from _iterate_statements(node)
