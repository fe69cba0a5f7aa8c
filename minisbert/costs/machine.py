"""Describe the machine that a measurement ran on, for `minisbert info` and for benchmarks."""

from __future__ import annotations

import platform
import re
from importlib.metadata import version
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info

from minisbert.search.kernel import kernel_name
from minisbert.system.threads import count_threads


def describe_machine(*packages: str) -> dict[str, str]:
    """Return names and values to print: system, versions, threads, BLAS, the kernel of the scan.

    packages  names of other packages whose versions to include

    Raises importlib.metadata.PackageNotFoundError for a package that is not installed.
    """
    kernel = kernel_name()
    facts = {
        "system": f"{platform.system()} {platform.machine()}, {_name_processor()}",
        "Python": f"{platform.python_version()}, NumPy {np.__version__}",
    }
    if packages:
        facts["packages"] = ", ".join(f"{package} {version(package)}" for package in packages)
    return facts | {
        "threads": str(count_threads(None)),
        "BLAS": _describe_blas(),
        "scan": kernel + (" (no C kernel is used)" if kernel == "numpy" else ""),
    }


def _name_processor() -> str:
    """Return the processor's name as the system reports it."""
    try:
        found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text("utf-8"))
    except OSError:
        found = None
    return found[1] if found else platform.processor()


def _describe_blas() -> str:
    """Return name, version, kind of processor and threads of each loaded BLAS."""
    described = []
    for library in threadpool_info():
        if library["user_api"] == "blas":
            keys = ("internal_api", "version", "architecture")
            names = " ".join(str(library[key]) for key in keys if library.get(key))
            described.append(f"{names}, {library['num_threads']} threads")
    return "; ".join(described)
