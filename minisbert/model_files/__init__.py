"""A name, a directory, its files."""
