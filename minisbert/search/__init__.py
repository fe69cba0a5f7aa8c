"""Exact search: the scan, two filters with a proof, and the indexes on top.

In reading order; a file imports only from those before it:

    topk           the definition of a score and of the order, in NumPy
    kernel         the one owner of the C library
    scan           the k best rows, by the kernel, on several threads
    candidates     what a filter leaves, scored canonically
    blas_filter    many queries at once, by matrix products
    int8_filter    from codes of one byte a number
    hamming        the nearest binary codes
    index_rows     what an index takes in
    index_files    an index on the disk
    index_builder  an index of more rows than memory holds
    flat_index     FlatIndex: add, search, save, load
    quantization   embeddings in fewer bits
    text_index     an index with its texts in one directory
    binary_index   BinaryIndex: approximate, with its recall
    mining         semantic search, paraphrases, communities
"""
