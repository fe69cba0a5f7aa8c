"""Parser, commands, demo."""
