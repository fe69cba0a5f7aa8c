"""Communities are those of a plain loop over all scores."""

import numpy as np
import pytest
from rows import all_cosines, make_rows

from minisbert.mining.communities import community_detection


def detect_slowly(rows: np.ndarray, threshold: float, fewest: int) -> list[list[int]]:
    """Apply the definition, over all pairs."""
    scores = all_cosines(rows)
    groups = []
    for centre, row in enumerate(scores):
        order = np.lexsort((np.arange(len(row)), -row))
        groups.append((centre, [i for i in order.tolist() if row[i] >= np.float32(threshold)]))
    groups = [group for group in groups if len(group[1]) >= fewest]
    taken: set[int] = set()
    found = []
    for centre, group in sorted(groups, key=lambda group: -len(group[1])):
        left = [i for i in group if i not in taken]
        if centre not in taken and len(left) >= fewest:
            found.append([centre, *(i for i in left if i != centre)])
            taken.update(found[-1])
    return sorted(found, key=lambda group: -len(group))


@pytest.mark.parametrize("batch_size", [1, 17, 1024])
@pytest.mark.parametrize("fewest", [1, 4, 12])
@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.95])
def test_communities_are_those_of_the_definition(threshold, fewest, batch_size):
    """Groups, their order and the order of their members agree with the definition."""
    rows = make_rows(90)
    expected = detect_slowly(rows, threshold, fewest)
    assert community_detection(rows, threshold, fewest, batch_size) == expected
    if fewest < 12:
        assert len(expected) > 1


def test_communities_by_hand():
    """Of two groups and a single row, the larger group comes first, each with its centre first."""
    rows = np.array([[1, 0], [0, 1], [1, 0.1], [0, 1], [1, -0.1], [-1, -1], [1, 0.02]])
    assert community_detection(rows, 0.99, 2) == [[0, 6, 2, 4], [1, 3]]


def test_score_at_the_threshold_counts():
    """Rows whose cosine equals the threshold belong to the group."""
    rows = np.array([[1.0, 0.0], [0.5, 0.0], [0.0, 1.0]])
    assert community_detection(rows, 1.0, 2) == [[0, 1]]


@pytest.mark.parametrize("D", [3, 8, 24, 100, 384])
def test_equal_rows_are_a_community(D):
    """At a threshold of 1.0 each row is with its copies, though its cosine with itself is rounded.

    The same holds a little above 1, where a threshold that was computed from cosines may lie.
    """
    rows = np.random.default_rng(D).standard_normal((40, D))
    for threshold in (1.0, 1 + 1e-6):
        assert community_detection(rows, threshold, 1) == [[row] for row in range(40)]
        expected = [[row, row + 40] for row in range(40)]
        assert community_detection(np.concatenate([rows, rows]), threshold, 2) == expected


def test_zero_vectors_are_near_nothing():
    """A zero vector has cosine 0 with everything, also with itself."""
    assert community_detection(np.zeros((4, 3)), 0.5, 1) == []
    assert community_detection(np.zeros((4, 3)), 0.0, 1) == [[0, 1, 2, 3]]


def test_no_communities():
    """Too few rows, or no similar rows, give no communities."""
    assert community_detection(np.empty((0, 4))) == []
    assert community_detection([]) == []
    assert community_detection(make_rows(20), 0.5, 2**63 - 1, 2**63 - 1) == []
    assert community_detection(np.ones((9, 4))) == []
    assert community_detection(np.eye(20)) == []


def test_progress_of_communities(capsys):
    """The progress bar is shown only on request."""
    community_detection(np.ones((20, 4)))
    assert capsys.readouterr().err == ""
    community_detection(np.ones((20, 4)), show_progress_bar=True)
    assert "compare" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"min_community_size": 0}, "min_community_size must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"batch_size": None}, "batch_size must be a whole number of 1 or more, got None"),
        ({"threshold": "0.5"}, "threshold must be a number from -1 to 1, got '0.5'"),
        ({"threshold": np.nan}, "threshold must be a number from -1 to 1, got nan"),
        ({"threshold": None}, "threshold must be a number from -1 to 1, got None"),
        ({"threshold": [0.5]}, "threshold must be a number from -1 to 1, got \\[0.5\\]"),
        ({"embeddings": [[1.0], [np.nan]]}, "embedding 1 must be finite"),
    ],
)
def test_what_has_no_communities(arguments, sentence):
    """Sizes below 1 and numbers that are not finite are refused."""
    with pytest.raises(ValueError, match=sentence):
        community_detection(**{"embeddings": np.ones((3, 4)), **arguments})
