"""The scan and the indexes."""
