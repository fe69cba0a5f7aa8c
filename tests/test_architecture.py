"""The rooms of the package, as `minisbert/__init__.py` lists them, and the order inside each."""

import ast

import pytest

from count_lines import CORE, measure_core
from rooms import (
    PACKAGE,
    ROOMS,
    find_foreign_imports,
    find_imports,
    find_upward_imports,
    name_module,
    read_places,
    read_sources,
)


def test_every_module_is_listed():
    """The docstrings of the package and of its rooms name every module, and nothing else."""
    assert set(read_sources()) == set(read_places())


def test_imports_point_down():
    """Every module imports only from lower rooms, or from files listed before it in its own."""
    assert find_upward_imports(read_sources(), read_places()) == []


def test_upward_import_is_found():
    """The check above rejects an import that points up, even inside a function."""
    places = {"low": (0, 0), "network.bert": (1, 0), "network.layers": (1, 1)}
    sources = {
        "low": "def f():\n    from minisbert.network.bert import g",
        "network.bert": "from minisbert.network import layers",
        "network.layers": "import minisbert.low",
    }
    assert find_upward_imports(sources, places) == [
        "low imports network.bert",
        "network.bert imports network.layers",
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_are_small(room):
    """No room has more than fourteen files beside its __init__.py."""
    files = [path for path in (PACKAGE / room).glob("*.py") if path.name != "__init__.py"]
    assert len(files) <= 14


@pytest.mark.parametrize("name", sorted(read_sources()))
def test_files_are_short(name):
    """No module is longer than 400 lines."""
    assert len(read_sources()[name].splitlines()) <= 400


# Public functions whose positional arguments callers use, or that sentence-transformers has too.
POSITIONAL = {
    "cross_encoder.predict",
    "cross_encoder.rank",
    "encoder.encode",
    "encoder.encode_to_file",
    "encoding.loaded_model.save",
    "mining.communities.community_detection",
    "mining.nearest.semantic_search",
    "mining.nearest.paraphrase_mining",
    "mining.nearest.paraphrase_mining_embeddings",
    "search.binary_index.search",
    "search.flat_index.__init__",
    "search.flat_index.from_embeddings",
    "search.flat_index.build",
    "search.hamming.hamming_topk",
    "search.quantization.quantize_embeddings",
    "search.scan.topk",
    "search.text_index.from_embeddings",
    "training.examples.read_examples",
    "training.optimizer.__call__",  # p, g, m, v
}


def find_long_signatures(source: str) -> set[str]:
    """Functions that take more than three arguments by position."""
    return {
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
        and len([a for a in node.args.args if a.arg not in ("self", "cls")]) > 3
    }


def test_arguments_after_the_third_are_keyword_only():
    """No function takes more than three arguments by position, except those listed above."""
    found = {
        f"{name}.{function}"
        for name, source in read_sources().items()
        for function in find_long_signatures(source)
    }
    assert found == POSITIONAL


def test_long_signature_is_found():
    """The check above finds the fourth positional argument, and no keyword-only one."""
    source = "def f(a, b, c, d): ...\ndef g(a, b, c, *, d): ...\n"
    assert find_long_signatures(source) == {"f"}


def test_core_is_small():
    """The core has at most 14 files and 2,400 lines."""
    lines = measure_core()
    assert len(lines) <= 14
    assert sum(lines.values()) <= 2400


@pytest.mark.parametrize("path", CORE)
def test_core_is_closed(path):
    """A file of the core imports the core, NumPy and the standard library, and nothing else."""
    core = {name_module(PACKAGE.parent / other) for other in CORE}
    source = (PACKAGE.parent / path).read_text("utf-8")
    assert find_imports(source) <= core
    assert find_foreign_imports(source) == set()


def test_foreign_import_is_found():
    """The check above rejects a third package."""
    assert find_foreign_imports("import os\nfrom tqdm import tqdm\nimport numpy") == {"tqdm"}
