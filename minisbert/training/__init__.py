"""Losses, steps, runs."""
