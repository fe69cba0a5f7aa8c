"""Disk, files and threads; nothing here knows what a model is.

In reading order; a file imports only from those before it:

    threads        how many threads, BLAS's limit, work shared out
    progress       a progress bar on the terminal
    disk           files and directories that appear whole or not at all
    json_fields    JSON objects, each field held to a rule
    safetensors    arrays mapped out of safetensors files, and written into them
    text_files     lines, CSV, TSV and JSON lines
"""
