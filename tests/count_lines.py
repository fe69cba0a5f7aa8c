"""Count lines: of the core, one evening's reading, and of everything else (`make size`)."""

from collections import Counter
from pathlib import Path

from rooms import (
    LISTED_NAMES,
    PACKAGE,
    find_foreign_imports,
    find_imports,
    find_upward_imports,
    name_module,
    read_places,
    read_sources,
)

ROOT = Path(__file__).resolve().parents[1]

# In reading order. It imports nothing but itself, NumPy and the standard library.
CORE = (
    "minisbert/arrays.py",
    "minisbert/network/config.py",
    "minisbert/network/ragged.py",
    "minisbert/network/activations.py",
    "minisbert/network/matrices.py",
    "minisbert/network/layers.py",
    "minisbert/network/bert.py",
    "minisbert/network/pooling.py",
    "minisbert/network/similarity.py",
    "minisbert/network/sentence_encoder.py",
    "minisbert/training/losses.py",
    "minisbert/training/optimizer.py",
    "minisbert/training/step.py",
    "minisbert/search/topk.py",
)


def count_lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def measure_core() -> dict[str, int]:
    """Return the files of the core and their numbers of lines."""
    return {name: count_lines(ROOT / name) for name in CORE}


def sum_lines(folder: str, pattern: str = "*.py") -> int:
    return sum(count_lines(path) for path in (ROOT / folder).rglob(pattern))


def find_imports_of_core() -> set[str]:
    """Return what the core imports beside itself, NumPy and the standard library."""
    core = {name_module(ROOT / name) for name in CORE}
    sources = [(ROOT / name).read_text("utf-8") for name in CORE]
    return {
        name
        for source in sources
        for name in (find_imports(source) - core) | find_foreign_imports(source)
    }


def count_room_imports() -> dict[str, Counter[str]]:
    """Return for each room, or module outside the rooms, the rooms that its imports name."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in LISTED_NAMES}
    for module, source in read_sources().items():
        room = module.partition(".")[0]
        others = [other.partition(".")[0] for other in find_imports(source)]
        counts[room].update(other for other in others if other != room and other in counts)
    return counts


def print_sizes() -> None:
    """Print the core, then the rooms with their imports, then the lines of all folders."""
    core = measure_core()
    print("the core, in reading order")
    for name, lines in core.items():
        print(f"{lines:7}  {name}")
    print(f"{sum(core.values()):7}  together, {len(core)} files")
    beside = ", ".join(sorted(find_imports_of_core())) or "nothing"
    print(f"         imports beside itself, NumPy and the standard library: {beside}")
    print("the rooms, from top to bottom: lines, and the files that they import of others")
    for room, counts in count_room_imports().items():
        files = list((PACKAGE / room).glob("*.py")) or [PACKAGE / f"{room}.py"]
        imports = ", ".join(f"{other} {counts[other]}" for other in LISTED_NAMES if counts[other])
        print(f"{sum(map(count_lines, files)):7}  {room:14} {imports}")
    upward = ", ".join(find_upward_imports(read_sources(), read_places())) or "none"
    print(f"         imports that point up, or to a later file of the same room: {upward}")
    print("everything")
    for folder, pattern in (
        ("minisbert", "*.py"),
        ("csrc", "*.[ch]"),
        ("tests", "*.py"),
        ("benchmarks", "*.py"),
    ):
        print(f"{sum_lines(folder, pattern):7}  {folder}/{pattern} together")


if __name__ == "__main__":
    print_sizes()
