"""Tell cffi how to compile the C files; setup.py passes this file to cffi."""

import sys
from pathlib import Path

from cffi import FFI

# cffi runs this file from the project's folder, without a reliable __file__.
HEADER = Path("csrc/topk.h")

ffi = FFI()
ffi.cdef(HEADER.read_text("utf-8"))
ffi.set_source(
    "minisbert._topk",
    '#include <stddef.h>\n#include <stdint.h>\n#include "topk.h"\n',
    sources=["csrc/topk.c", "csrc/topk_int8.c", "csrc/hamming.c"],
    include_dirs=["csrc"],
    depends=["csrc/topk.h"],
    # Contraction would fuse multiply and add into one rounding, also inside functions with a wider
    # target than the rest, and the kernels would no longer agree to the last bit.
    extra_compile_args=[]
    if sys.platform == "win32"
    else ["-std=c11", "-O3", "-ffp-contract=off", "-Wall"],
    py_limited_api=True,
)
