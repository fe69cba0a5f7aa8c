"""`minisbert.util`: sentence-transformers' names for functions of other modules."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minisbert
from minisbert import util


def test_every_name_is_a_function_of_elsewhere():
    """The file holds only imports and the list of their names."""
    tree = ast.parse(Path(util.__file__).read_text("utf-8"))
    docstring, *imports, names = tree.body
    assert isinstance(docstring, ast.Expr)
    assert all(isinstance(node, ast.ImportFrom) for node in imports)
    imported = {alias.asname or alias.name for node in imports for alias in node.names}
    assert isinstance(names, ast.Assign)
    assert imported == set(util.__all__)
    assert all(callable(getattr(util, name)) for name in util.__all__)


def test_names_are_those_of_the_functions():
    """The short names are the functions with the long names."""
    assert util.cos_sim is minisbert.cosine_similarity
    assert util.dot_score is minisbert.dot_similarity
    assert util.euclidean_sim is minisbert.euclidean_similarity
    assert util.manhattan_sim is minisbert.manhattan_similarity
    assert util.pairwise_cos_sim is minisbert.pairwise_cosine_similarity
    assert util.pairwise_dot_score is minisbert.pairwise_dot_similarity
    assert util.pairwise_euclidean_sim is minisbert.pairwise_euclidean_similarity
    assert util.pairwise_manhattan_sim is minisbert.pairwise_manhattan_similarity
    assert util.quantize_embeddings is minisbert.quantize_embeddings


@pytest.mark.slow
def test_the_import_line_of_the_original():
    """Classes and `util` can be imported in one line; `util` is loaded only when it is used."""
    program = """
import sys, minisbert
assert "minisbert.util" not in sys.modules
assert minisbert.util.cos_sim([1, 0], [2, 0]).tolist() == [[1.0]]
from minisbert import SentenceTransformer, CrossEncoder, util
assert util is minisbert.util
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_similarities_of_single_vectors():
    """A vector is one row, and a negative distance is larger where rows are nearer."""
    assert util.cos_sim([3, 4], [[3, 4], [-3, -4]]).tolist() == [[1.0, -1.0]]
    assert util.euclidean_sim([0, 0], [3, 4]).tolist() == [[-5.0]]
    assert util.pairwise_manhattan_sim([[0, 0]], [[3, 4]]).tolist() == [-7.0]
    assert util.dot_score(np.eye(2), np.eye(2)).tolist() == np.eye(2).tolist()


def test_public_names():
    """Every public name of the package leads to something, and an unknown one is an error."""
    assert all(getattr(minisbert, name) is not None for name in minisbert.__all__)
    assert set(minisbert.__all__) <= set(dir(minisbert))
    assert minisbert.network.pooling.POOLINGS  # a module is an attribute without an import
    for name in ("nothing", "_nothing", "no_similarity"):
        with pytest.raises(AttributeError, match=f"has no attribute '{name}'"):
            getattr(minisbert, name)
