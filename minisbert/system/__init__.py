"""Disk, files and threads; nothing here knows what a model is.

In reading order; a file imports only from those before it:

    blas_limits    limits for the threads of BLAS
    threads        number of threads, work shared between threads
    progress       a progress bar on the terminal
    regular_files  other people's files: no pipes, no devices, nothing too large
    file_identity  the same file again, for objects that travel as a path
    tensors        arrays as torch's tensors and back, without importing torch
    locks          one writer at a time for each file and directory
    disk           files and directories that appear whole or not at all
    whole_reads    several files of a directory, all of one version
    json_fields    JSON files, each field checked by a rule
    mapped_arrays  arrays of mapped files, copied and pickled as such
    safetensors    arrays read from safetensors files, mapped, and written to them
    text_files     plain lines, CSV, TSV and JSON lines
"""

from minisbert.system.blas_limits import limit_blas
from minisbert.system.disk import write_directory, write_file
from minisbert.system.locks import lock_destination
from minisbert.system.progress import progress_bar
from minisbert.system.safetensors import read_safetensors, write_safetensors
from minisbert.system.threads import count_threads

__all__ = [
    "count_threads",
    "limit_blas",
    "lock_destination",
    "progress_bar",
    "read_safetensors",
    "write_directory",
    "write_file",
    "write_safetensors",
]
