"""From texts to token ids, from batches to embeddings, and what callers may ask for besides.

In reading order; a file imports only from those before it:

    tokenization   texts to token ids
    prompts        texts put in front of every input
    batching       which texts go through the network together
    finishing      embeddings truncated, normalised, quantised
    signatures     what type checkers know of `encode` and `predict`
    drop_in        what callers of sentence-transformers pass besides
    streaming      embeddings of more texts than fit in memory
    heat_map       a matrix of tokens by tokens, drawn
    explain        a similarity as a sum over pairs of tokens
"""
