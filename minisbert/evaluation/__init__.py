"""Measures and judged files."""
