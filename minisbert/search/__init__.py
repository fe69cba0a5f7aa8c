"""Exact search: the scan, two filters with proven bounds, and the indexes on top.

README.md in this folder explains it. In reading order; a file imports only from those before it:

    topk           the definition of a score and of the order of rows, in NumPy
    kernel         the interface to C: which kernel runs, and every call into it
    scan           the k best rows for each query, by a kernel, on several threads
    candidates     the rows that a filter can't rule out, and their scores
    blas_filter    a filter for many queries at once, by matrix products
    int8_filter    a filter by codes of one byte for each number
    hamming        the nearest binary codes
    block_file     an index file, opened once: mapped or read, checked by digests
    index_rows     the rows of an index: checked, normalised, kept, searched by the cheapest path
    index_files    an index file: written whole or piece by piece, and opened
    flat_index     FlatIndex: add, search, save, load
    quantization   embeddings in fewer bits, in sentence-transformers' formats
    text_index     TextIndex: an index and its texts in one directory
    binary_index   BinaryIndex: approximate search by bits, with its measured recall
"""
