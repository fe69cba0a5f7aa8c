"""`minisbert.search.binary_index` under its public name."""

from minisbert.search.binary_index import BinaryIndex

__all__ = ["BinaryIndex"]
