"""Fixtures of the parity tests."""

import logging

import pytest


@pytest.fixture
def complaints(caplog):
    """Record what their libraries log at warning level or above."""
    loggers = [logging.getLogger(name) for name in ("transformers", "sentence_transformers")]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
        logger.propagate = True
    yield lambda: [record.getMessage() for record in caplog.records if record.levelno >= 30]
    for logger, (level, propagate) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.propagate = propagate
