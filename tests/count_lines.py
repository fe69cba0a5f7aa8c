"""Print the lines of the core, one evening's reading, and of the rest: `make size`."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CORE = ("ragged", "layers", "bert", "pooling", "similarity", "topk", "encoder")


def count_lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def list_core() -> list[tuple[str, int]]:
    """The files of the core in reading order, with their lines."""
    paths = [ROOT / "minisbert" / f"{name}.py" for name in CORE]
    paths += [ROOT / "csrc" / "topk.h", ROOT / "csrc" / "topk.c"]
    return [(str(path.relative_to(ROOT)), count_lines(path)) for path in paths]


if __name__ == "__main__":
    core = list_core()
    for name, lines in core:
        print(f"{lines:6}  {name}")
    total = sum(lines for _, lines in core)
    package = sum(map(count_lines, (ROOT / "minisbert").glob("*.py")))
    package += sum(map(count_lines, (ROOT / "csrc").glob("*.[ch]")))
    print(f"{total:6}  the core\n{package - total:6}  the rest of minisbert and csrc")
