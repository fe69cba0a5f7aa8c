"""`minisbert.search.quantization` under its public name."""

from minisbert.search.quantization import (
    Precision,
    find_ranges,
    load_ranges,
    quantize_embeddings,
    save_ranges,
)

__all__ = ["Precision", "find_ranges", "load_ranges", "quantize_embeddings", "save_ranges"]
