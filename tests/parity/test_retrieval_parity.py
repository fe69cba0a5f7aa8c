"""Retrieval on real data: our vectors and measures beside sentence-transformers and trec_eval."""

import ir_measures
import pytest
import sentence_transformers

from minisbert import FlatIndex
from minisbert.evaluation.evaluate import evaluate_retrieval
from minisbert.evaluation.judged_files import read_beir


def test_scifact_is_that_of_sentence_transformers(minilm, minilm_directory, data_directory):
    """nDCG@10 x 100 is within 0.1 on the judged documents of SciFact and 100 others."""
    task = read_beir(data_directory / "scifact")
    judged = {document for grades in task.grades.values() for document in grades}
    others = [name for name in task.documents if name not in judged][:100]
    task = task._replace(documents={name: task.documents[name] for name in [*judged, *others]})

    theirs = sentence_transformers.SentenceTransformer(str(minilm_directory), device="cpu")
    index = FlatIndex.from_embeddings(theirs.encode(list(task.documents.values())))
    queries = [task.queries[query] for query in task.grades]
    names = list(task.documents)
    run = {
        query: {names[row]: float(score) for score, row in zip(*best, strict=True)}
        for query, *best in zip(
            task.grades, *index.search(theirs.encode(queries), 100), strict=True
        )
    }
    measure = ir_measures.nDCG @ 10
    qrels = {
        query: {name: int(grade) for name, grade in grades.items()}
        for query, grades in task.grades.items()
    }
    expected = ir_measures.calc_aggregate([measure], qrels, run)[measure]
    ours = evaluate_retrieval(minilm, task).measures["nDCG@10"]
    assert 100 * ours == pytest.approx(100 * expected, abs=0.1)
