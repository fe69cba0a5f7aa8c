"""What ran where: versions, processor, threads, BLAS and kernel, for `info` and for benchmarks."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info

from minisbert.search.kernel import kernel_name
from minisbert.system.threads import count_threads


def describe_machine() -> dict[str, str]:
    """Names of facts and the facts, in the order to print them."""
    blas = [library for library in threadpool_info() if library["user_api"] == "blas"]
    kernel = kernel_name()
    return {
        "system": f"{platform.system()} {platform.machine()}, {name_processor()}",
        "Python": f"{platform.python_version()}, NumPy {np.__version__}",
        "threads": str(count_threads(None)),
        "BLAS": "; ".join(
            " ".join(
                str(library[key])
                for key in ("internal_api", "version", "architecture")
                if library.get(key)
            )
            + f", {library['num_threads']} threads"
            for library in blas
        ),
        "scan": kernel + (" (no C kernel is used)" if kernel == "numpy" else ""),
    }


def name_processor() -> str:
    """The processor's name as the system knows it."""
    try:
        found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text("utf-8"))
    except OSError:
        found = None
    return found[1] if found else platform.processor()
