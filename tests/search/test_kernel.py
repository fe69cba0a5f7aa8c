"""The choice of the kernel, and the numbers and layouts that Python and csrc/topk.h share."""

import re
from pathlib import Path

import pytest
from cffi import FFI

from minisbert.search import kernel as kernel_module
from minisbert.search.kernel import KERNELS, QUERY_FACTORS, kernel_name, list_kernels
from minisbert.search.scan import topk

HEADER = (Path(__file__).parents[2] / "csrc/topk.h").read_text("utf-8")

RUNS = list_kernels()


def test_widest_kernel_is_chosen(monkeypatch):
    """If MINISBERT_SIMD is unset or empty, the widest kernel that runs here is used."""
    for setting in (monkeypatch.delenv, lambda name, raising: monkeypatch.setenv(name, "")):
        setting("MINISBERT_SIMD", raising=False)
        assert kernel_name() == RUNS[0]


@pytest.mark.parametrize("name", [*RUNS, "numpy"])
def test_kernel_can_be_forced(name, monkeypatch):
    """MINISBERT_SIMD names the kernel in use."""
    monkeypatch.setenv("MINISBERT_SIMD", name)
    assert kernel_name() == name


@pytest.mark.parametrize("name", ["sse9", *sorted(set(KERNELS) - set(RUNS))])
def test_kernel_that_cannot_run_is_refused(name, monkeypatch):
    """An unknown kernel, or one for another machine, is an error that lists those that run."""
    monkeypatch.setenv("MINISBERT_SIMD", name)
    with pytest.raises(ValueError, match=f"MINISBERT_SIMD must be one of .*scalar.* got '{name}'"):
        topk([[1]], [[1]], 1)


def test_without_a_library_numpy_is_the_kernel(monkeypatch):
    """Without the compiled library the kernel is numpy, and no other can be forced."""
    monkeypatch.setattr(kernel_module, "lib", None)
    monkeypatch.delenv("MINISBERT_SIMD", raising=False)
    assert list_kernels() == []
    assert kernel_name() == "numpy"
    monkeypatch.setenv("MINISBERT_SIMD", "scalar")
    with pytest.raises(ValueError, match="must be one of numpy on this machine, got 'scalar'"):
        kernel_name()


def read_numbers():
    """Read every number that the header defines, by its name without the prefix."""
    defined = re.findall(r"^#define MINISBERT_(\w+) (-?\d+)$", HEADER, re.MULTILINE)
    return {name: int(number) for name, number in defined}


def test_numbers_are_those_of_the_header():
    """The kernels' numbers and other constants in Python equal those in the header."""
    numbers = read_numbers()
    assert sorted(KERNELS.values()) == list(range(numbers["KERNELS"]))
    assert {name: numbers[name.upper()] for name in KERNELS} == KERNELS
    for name, value in (
        ("BLOCK_ROWS", kernel_module.BLOCK_ROWS),
        ("QUERY_GROUP", kernel_module.QUERY_GROUP),
        ("INT8_DIMENSION", kernel_module.LARGEST_DIMENSION),
        ("TOO_MANY", kernel_module.TOO_MANY),
    ):
        assert numbers[name] == value, name


def test_query_factors_have_the_layout_of_the_struct():
    """Names, types and offsets of QUERY_FACTORS equal those of minisbert_query_factors."""
    ffi = FFI()
    ffi.cdef(HEADER)
    struct = ffi.typeof("minisbert_query_factors")
    assert ffi.sizeof(struct) == QUERY_FACTORS.itemsize
    assert [(name, field.type.cname, field.offset) for name, field in struct.fields] == [
        (name, "double", QUERY_FACTORS.fields[name][1]) for name in QUERY_FACTORS.names
    ]
    assert {kind.str for kind, _ in QUERY_FACTORS.fields.values()} == {"<f8"}


def test_failed_call_is_an_error():
    """A status other than OK raises an error that names the C function."""
    with pytest.raises(RuntimeError, match="minisbert_topk failed with status 1"):
        kernel_module._call(
            "minisbert_topk",
            -1,
            *[kernel_module.ffi.NULL, 0] * 2,
            0,
            0,
            0,
            *[kernel_module.ffi.NULL] * 2,
        )
