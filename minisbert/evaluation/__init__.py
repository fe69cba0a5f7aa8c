"""Measure the quality of models on texts with human judgements.

In reading order; a file imports only from those before it:

    metrics        correlation, ranking measures, F1 at a threshold
    tables         CSV, TSV and JSON lines with texts and labels
    judged_files   files of STS pairs, retrieval tasks in the layout of BEIR
    evaluate       measure a model on such files
"""

from minisbert.evaluation.evaluate import (
    RetrievalResult,
    StsResult,
    evaluate_retrieval,
    evaluate_sts,
)
from minisbert.evaluation.judged_files import RetrievalTask, StsPairs, read_beir, read_sts
from minisbert.evaluation.metrics import spearman

__all__ = [
    "RetrievalResult",
    "RetrievalTask",
    "StsPairs",
    "StsResult",
    "evaluate_retrieval",
    "evaluate_sts",
    "read_beir",
    "read_sts",
    "spearman",
]
