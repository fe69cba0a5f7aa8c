"""The command line: what `minisbert` and its subcommands do.

In reading order; a file imports only from those before it:

    standard_library  the corpus of the demo: what Python's library says of itself
    demo              `minisbert demo`
    train             `minisbert train`
    commands          all other commands
    parser            commands and their options
"""
