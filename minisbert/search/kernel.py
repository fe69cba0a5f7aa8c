"""The one owner of the C library: which kernel runs, and every call into it.

cffi compiled `minisbert._topk` from csrc/; where it did not, each caller has a NumPy twin.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

try:
    from minisbert._topk import ffi, lib
except ImportError:
    ffi = lib = None

# Kernel names by number in csrc/topk.h; "numpy" is the twin.
KERNELS = {"avx512vnni": 4, "avx512": 2, "avx2": 1, "neondot": 5, "neon": 3, "scalar": 0}


def kernel_name() -> str:
    """The kernel in use: the widest that this machine runs, or the one MINISBERT_SIMD names.

    Raises ValueError if MINISBERT_SIMD names one that this machine can't run.
    """
    runs = [name for name, number in KERNELS.items() if supports("minisbert_supports", number)]
    runs.append("numpy")
    wanted = os.environ.get("MINISBERT_SIMD") or runs[0]
    if wanted not in runs:
        raise ValueError(
            f"MINISBERT_SIMD must be one of {', '.join(runs)} on this machine, got {wanted!r}; "
            "unset it to let minisbert choose"
        )
    return wanted


# The types of arrays as csrc/topk.h names them; blocks of codes are bytes.
POINTERS = {
    "f4": "float *",
    "f8": "double *",
    "i8": "int64_t *",
    "i4": "int32_t *",
    "i1": "int8_t *",
}


def supports(question: str, kernel: int) -> bool:
    """Whether there is a C library that can run a kernel here, as this function of it answers."""
    return lib is not None and getattr(lib, question)(kernel) == 1


def call(function: str, *arguments: Any) -> None:
    """Call a function of the C library that returns a status; arrays go in by their addresses."""
    status = getattr(lib, function)(
        *(
            ffi.cast(POINTERS.get(argument.dtype.str[1:], "uint8_t *"), argument.ctypes.data)
            if isinstance(argument, np.ndarray)
            else argument
            for argument in arguments
        )
    )
    if status != lib.MINISBERT_OK:
        raise RuntimeError(f"{function} failed with status {status}")
