"""Disk, json, text: what knows nothing of models."""
