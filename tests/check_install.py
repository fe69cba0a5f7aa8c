"""Use an installed minisbert: `make check-dist` runs this in an environment of its own.

The kernel must be there, a search must give the same with the kernel and with NumPy, and files that
are not modules must be installed, too.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import minisbert

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGE = Path(minisbert.__file__).resolve().parent


def main() -> None:
    assert PACKAGE != CHECKOUT / "minisbert", f"{PACKAGE} is the checkout, not an installed package"
    others = [path.relative_to(CHECKOUT) for path in CHECKOUT.glob("minisbert/**/*.md")]
    for path in (*others, Path("minisbert/py.typed")):
        assert (PACKAGE.parent / path).exists(), f"{path} is not installed"

    info = [Path(sys.executable).with_name("minisbert"), "info"]
    printed = subprocess.run(info, check=True, capture_output=True, text=True).stdout
    assert minisbert.__version__ in printed
    assert "no C kernel" not in printed, "there is no kernel"

    rng = np.random.default_rng(0)
    rows, queries = (rng.standard_normal((count, 100), np.float32) for count in (500, 3))
    scores, ids = minisbert.topk(queries, rows, 10)
    os.environ["MINISBERT_SIMD"] = "numpy"
    expected_scores, expected_ids = minisbert.topk(queries, rows, 10)
    assert np.array_equal(ids, expected_ids)
    assert np.array_equal(scores, expected_scores)
    print(printed, f"search works in {PACKAGE}", sep="")


if __name__ == "__main__":
    main()
