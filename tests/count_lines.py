"""Count lines: of the core, one evening's reading, and of everything else (`make size`)."""

from pathlib import Path

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


def print_sizes() -> None:
    """Print the core file by file, then each room, the C code, the tests and the benchmarks."""
    core = measure_core()
    print("the core, in reading order")
    for name, lines in core.items():
        print(f"{lines:7}  {name}")
    print(f"{sum(core.values()):7}  together, {len(core)} files")
    print("everything")
    for folder in sorted(path.parent for path in (ROOT / "minisbert").rglob("__init__.py")):
        files = list(folder.glob("*.py"))
        lines = sum(map(count_lines, files))
        print(f"{lines:7}  {folder.relative_to(ROOT)}/ itself, {len(files)} files")
    for folder, pattern in (
        ("minisbert", "*.py"),
        ("csrc", "*.[ch]"),
        ("tests", "*.py"),
        ("benchmarks", "*.py"),
    ):
        print(f"{sum_lines(folder, pattern):7}  {folder}/{pattern} together")


if __name__ == "__main__":
    print_sizes()
