"""Count the lines of every file that the README lists: `make size`.

The README's tables name the core, one evening's reading, and the rest, with their lines.
`--update` writes the counts there; a test says when they are out of date.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
ROW = re.compile(r"^\| \[[^]]+\]\(([^)]+)\) \| (\d+) \|", re.MULTILINE)


def count_lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def read_counts() -> dict[str, int]:
    """The files in the README's tables and the counts that stand there."""
    return {name: int(lines) for name, lines in ROW.findall(README.read_text("utf-8"))}


def count_listed() -> dict[str, int]:
    """The same files, counted."""
    return {name: count_lines(ROOT / name) for name in read_counts()}


def update_readme() -> None:
    counts = count_listed()

    def correct(row: re.Match[str]) -> str:
        return row[0].replace(f"| {row[2]} |", f"| {counts[row[1]]} |")

    README.write_text(ROW.sub(correct, README.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    if "--update" in sys.argv:
        update_readme()
    for name, lines in count_listed().items():
        print(f"{lines:6}  {name}")
    print(f"{sum(count_listed().values()):6}  together")
