"""Training examples: which objective columns are for, and what is read or refused for it."""

import numpy as np
import pytest

import minisbert
from minisbert.training.development import count_overlap
from minisbert.training.examples import NLI_CLASSES, make_examples, read_examples

# The objective inferred for a bi-encoder -> that for a cross-encoder.
FOR_CROSS_ENCODERS = {"cosine": "binary", "softmax": "classes"}

NLI = (
    "gold_label,sentence1,sentence2\n"
    "contradiction,p,c1\n"
    "entailment,p,e1\n"
    "-,p,n1\n"
    "neutral,q,n2\n"
    "entailment,q,e2\n"
    "entailment,p,e3\n"
    "entailment,p,e4\n"
    "contradiction,p,c2\n"
)


@pytest.fixture
def write(tmp_path):
    """Write a file and return its path."""

    def write(content, name="e.csv"):
        path = tmp_path / name
        path.write_text(content, "utf-8")
        return path

    return write


def join(header, *labels):
    """CSV of different pairs with these labels."""
    return header + "\n" + "".join(f"s{i},t{i},{label}\n" for i, label in enumerate(labels))


@pytest.mark.parametrize(
    ("content", "options", "objective"),
    [
        ("anchor,positive,negative\na,b,c\n", {}, "triplet"),
        ("query,answer,id\na,b,1\nc,d,2\n", {}, "ranking"),
        (join("text1,text2,label", 0, 0.5, 1), {}, "cosine"),
        (join("text1,text2,similarity_score", 0, 1, 1), {}, "cosine"),
        (join("question1,question2,is_duplicate", 0, 1, 1), {}, "cosine"),
        (join("text1,text2,label", 0, 1, 1), {}, "softmax"),
        (join("text1,text2,class", "yes", "no"), {}, "softmax"),
        (join("text1,text2,label", 0, 5, 3), {"scale": 5}, "cosine"),
        (join("text1,text2,label", "1.5", "2"), {"classes": ("1.5", "2")}, "softmax"),
        ("x,y,z\na,b,yes\nc,d,no\n", {"columns": ("x", "y", "z")}, "softmax"),
        ("x,y,z\na,b,c\n", {"columns": ("x", "y", "z"), "objective": "triplet"}, "triplet"),
        ("x,y,z\na,b,c\nd,e,f\n", {"columns": ("x", "y", "z"), "objective": "ranking"}, "ranking"),
        ("x,y,z\na,b,c\nd,e,f\n", {"columns": ("x", "y")}, "ranking"),
    ],
)
def test_objective_is_inferred(write, content, options, objective):
    """The objective is inferred from columns, names and values, for either kind of model."""
    path = write(content)
    found, examples = read_examples(path, **options)
    assert found == objective
    assert read_examples(path, **{**options, "objective": objective})[1].texts == examples.texts
    if objective in FOR_CROSS_ENCODERS:
        found, again = read_examples(path, **options, cross_encoder=True)
        assert found == FOR_CROSS_ENCODERS[objective]
        np.testing.assert_array_equal(again.labels, examples.labels)


def test_scores(write):
    """Scores are read as float64, and divided by a scale if one is given."""
    path = write(join("a,b,score", "0", "1", " .25", "1e-1"))
    objective, examples = read_examples(path)
    assert objective == "cosine"
    assert examples.texts == (["s0", "s1", "s2", "s3"], ["t0", "t1", "t2", "t3"])
    assert examples.labels.dtype == np.float64
    assert examples.labels.tolist() == [0, 1, 0.25, 0.1]
    assert examples.lines.dtype == np.int64
    assert examples.lines.tolist() == [2, 3, 4, 5]
    assert (examples.classes, examples.left_out) == ((), 0)
    assert read_examples(path, scale=4)[1].labels.tolist() == [0, 0.25, 0.0625, 0.025]


def test_sts_benchmark_is_divided_by_five(write):
    """Scores of the STS benchmark's layout are from 0 to 5, unless the scale is given."""
    path = write("news\tfile\tyear\t1\t2.5\tone\ttwo\nnews\tfile\tyear\t2\t4\tthree\tfour\n")
    assert read_examples(path)[1].labels.tolist() == [0.5, 0.8]
    assert read_examples(path, scale=10)[1].labels.tolist() == [0.25, 0.4]


def test_classes(write):
    """Classes are numbered in sorted order, or in the order that is given."""
    path = write(join("a,b,label", "no", "yes", "maybe", "no"))
    objective, examples = read_examples(path)
    assert objective == "softmax"
    assert examples.classes == ("maybe", "no", "yes")
    assert examples.labels.dtype == np.int64
    assert examples.labels.tolist() == [1, 2, 0, 1]
    # Given classes, as for a development file, may be more than the file has.
    _, examples = read_examples(path, classes=["yes", "no", "never", "maybe"])
    assert examples.classes == ("yes", "no", "never", "maybe")
    assert examples.labels.tolist() == [1, 0, 3, 1]


def test_numbered_classes_are_sorted_as_numbers(write):
    """Classes that are numbers are sorted by value."""
    assert read_examples(write(join("a,b,label", 10, 9, -1)))[1].classes == ("-1", "9", "10")


def test_classes_of_nli(write):
    """Pairs without a consensus are left out and counted; the order of classes is fixed."""
    objective, examples = read_examples(write(NLI))
    assert objective == "softmax"
    assert examples.classes == NLI_CLASSES
    assert examples.labels.tolist() == [0, 1, 2, 1, 1, 1, 0]
    assert examples.lines.tolist() == [2, 3, 5, 6, 7, 8, 9]
    assert examples.left_out == 1
    codes = write(join("premise,hypothesis,label", 1, -1, 2, 0))
    _, examples = read_examples(codes, classes=NLI_CLASSES)
    assert (examples.labels.tolist(), examples.left_out) == ([2, 0, 1], 1)


def test_a_dash_may_be_a_class(write):
    """Only among the classes of NLI does a dash mean that there was no consensus."""
    assert read_examples(write(join("a,b,label", "-", "+", "-")))[1].classes == ("+", "-")


def test_ranking_takes_what_belongs_together(write):
    """Ranking takes the entailments of NLI pairs, and all pairs or triplets of other files."""
    objective, examples = read_examples(write(NLI), "ranking")
    assert objective == "ranking"
    assert examples.texts == (["p", "q", "p", "p"], ["e1", "e2", "e3", "e4"])
    assert examples.lines.tolist() == [3, 6, 7, 8]
    assert (examples.labels, examples.left_out) == (None, 4)
    triplets = write("anchor,positive,negative\na,b,c\nd,e,f\n")
    assert read_examples(triplets, "ranking")[1].texts == (["a", "d"], ["b", "e"], ["c", "f"])


def test_triplets_of_nli(write):
    """The k-th entailment and contradiction of a premise are paired; the rest is counted."""
    objective, examples = read_examples(write(NLI), "triplet")
    assert objective == "triplet"
    assert examples.texts == (["p", "p"], ["e1", "e3"], ["c1", "c2"])
    assert examples.lines.tolist() == [3, 7]
    assert (examples.labels, examples.classes, examples.left_out) == (None, (), 4)


@pytest.mark.parametrize(
    ("content", "options", "sentence"),
    [
        # unknown objectives, or objectives that the columns don't fit
        ("a,b\n", {"objective": "mnrl"}, "objective must be one of cosine, .*, got 'mnrl'; choose"),
        (
            "a,b\n",
            {"objective": "cosine", "cross_encoder": True},
            "objective must be one of binary, classes for a cross-encoder, got 'cosine'",
        ),
        (
            "a,b\nc,d\n",
            {"cross_encoder": True},
            "must have two texts and a score or a class for a cross-encoder, got 'a', 'b';",
        ),
        ("a,b\nc,d\n", {"objective": "triplet"}, "must have three texts, or two and a class of N"),
        ("a,b\nc,d\n", {"objective": "cosine"}, "must have two texts and a score for cosine, got"),
        ("a,b\nc,d\n", {"objective": "classes"}, "must have two texts and a class for classes"),
        (
            "anchor,positive,negative,label\na,b,c,d\n",
            {"objective": "softmax"},
            "must have two texts and a class for softmax, got 'anchor', 'positive', 'neg",
        ),
        (
            join("a,b,score", 0.1, 0.2),
            {"objective": "ranking"},
            "for ranking, got 'a', 'b', 'score';",
        ),
        (join("a,b,label", 0, 1), {"objective": "triplet"}, "for triplet, got 'a', 'b', 'label'"),
        (NLI, {"columns": ("sentence1", "gold")}, "columns must be among .*, got 'gold'"),
        # scores
        (
            join("a,b,score", 0.5, 3.8, 4.2),
            {},
            r"line 3 of .*e.csv must have a score from 0 to 1, got 3.8; "
            r"pass scale=5 if 5 is the highest \(--scale 5\)",
        ),
        (join("a,b,score", 6), {"scale": 5}, "line 2 of .* from 0 to 5, got 6; pass scale=6 if 6"),
        (join("a,b,score", 0.5, -0.1), {}, "line 3 of .* from 0 to 1, got -0.1; repair the line"),
        (join("a,b,score", 0.5, "nan"), {}, "line 3 of .* from 0 to 1, got 'nan'; repair the line"),
        (join("a,b,score", 0.5, "inf"), {}, "line 3 of .* from 0 to 1, got 'inf'; repair the line"),
        (join("a,b,label", 0.5, "good"), {}, "line 3 of .* must have a score .*, got 'good'; "),
        (NLI, {"objective": "binary"}, "line 2 of .* must have a score .*, got 'contradiction'"),
        (
            NLI,
            {"scale": 0},
            "scale must be a number above 0, got 0; pass the highest possible score",
        ),
        (NLI, {"scale": float("nan")}, "scale must be a number above 0, got nan"),
        (NLI, {"scale": 5, "objective": "softmax"}, "scale must be left out for softmax, got 5"),
        # classes
        (
            join("a,b,label", "x", "x"),
            {},
            "must have two classes or more, got only 'x'; is",
        ),
        (
            join("a,b,label", "-", "-"),
            {},
            "must have a class for some of its pairs, got only '-'; is",
        ),
        (join("a,b,label", "-"), {"classes": NLI_CLASSES}, "must have a class for some of its pa"),
        (
            NLI,
            {"classes": ("contradiction", "entailment")},
            "line 5 of .* must have one of the classes contradiction, entailment, got 'neutral'; ",
        ),
        (NLI, {"classes": ("neutral",)}, "classes must be two different names or more, got neut"),
        (NLI, {"classes": ("x", "x")}, "classes must be two different names or more, got x, x;"),
        (NLI, {"classes": ("x", "y"), "objective": "ranking"}, "classes must be left out for rank"),
        (
            join("a,b,label", *range(21)),
            {},
            "must hold classes in column label, got 21 different values such as '9'; choose",
        ),
        (
            join("a,b,label", 0.5, 1),
            {"objective": "softmax"},
            "must hold classes in column label, got 2 different values such as '1'",
        ),
        # too few examples
        ("a,b\nc,d\n", {}, "must have 2 examples or more for ranking, got 1; add examples"),
        (
            join("a,b,label", "neutral", "contradiction"),
            {"objective": "ranking"},
            "must have 2 examples or more for ranking, got 0",
        ),
        (
            join("a,b,label", "entailment", "contradiction"),
            {"objective": "triplet"},
            "must have a premise with an entailment and a contradiction to make triplets, got none",
        ),
    ],
)
def test_refusals(write, content, options, sentence):
    """Examples that an objective can't use give one sentence with the remedy, before training."""
    with pytest.raises(ValueError, match=sentence) as caught:
        read_examples(write(content), **options)
    assert "\n" not in str(caught.value)


def test_one_example_is_enough(write):
    """Only ranking needs another example to have a negative."""
    for content, options in (
        ("anchor,positive,negative\na,b,c\n", {}),
        (join("a,b,score", 0.5), {}),
        (join("a,b,label", "x"), {"classes": ("x", "y")}),
    ):
        assert len(read_examples(write(content), **options)[1].lines) == 1


def test_many_classes_of_many_examples(write):
    """Many classes are accepted if they are repeated."""
    content = join("a,b,label", *range(30), *range(30))
    assert len(read_examples(write(content))[1].classes) == 30


def test_overlap(write):
    """Texts that are together in a training example are found in any order and in triplets."""
    _, pairs = read_examples(write("a,b\nx,y\nz,z\nu,v\n", "train.csv"))
    _, triplets = read_examples(write("anchor,positive,negative\nx,y,w\n", "triplets.csv"))
    _, development = read_examples(write(join("a,b,score", 0, 1) + "y,x,1\ny,x,0\nz,z,1\nx,x,1\n"))
    assert count_overlap(pairs, development) == 3
    assert count_overlap(triplets, development) == 2
    assert count_overlap(development, triplets) == 0
    assert count_overlap(triplets, triplets) == 1
    assert count_overlap(pairs, pairs) == 3


@pytest.mark.parametrize(
    ("name", "objective", "counts"),
    [
        ("stsbenchmark/sts-train.csv", "cosine", None),
        ("snli/train_18k.tsv", "softmax", [6086, 6015, 5899]),
        ("snli/dev.tsv", "softmax", [3278, 3329, 3235]),
    ],
)
def test_real_files(data_directory, name, objective, counts):
    """The published files are read whole, each for the objective that the paper trains on it."""
    found, examples = read_examples(data_directory / name)
    assert found == objective
    assert examples.left_out == 0
    if counts is None:
        assert len(examples.lines) == 5749
        assert (examples.labels.min(), examples.labels.max()) == (0, 1)
    else:
        assert examples.classes == NLI_CLASSES
        assert np.bincount(examples.labels).tolist() == counts


def test_examples_of_sentence_transformers():
    """An `InputExample` serves as a tuple; its label is used where the objective needs one."""
    examples = [
        minisbert.InputExample(texts=["a", "b"], label=0.5),
        minisbert.InputExample("2", ["c", "d"], 1),
    ]
    assert str(examples[0]) == "<InputExample> label: 0.5, texts: a; b"
    made = make_examples(examples, "cosine")
    assert made.texts == (["a", "c"], ["b", "d"])
    assert made.labels.tolist() == [0.5, 1]
    assert make_examples(examples, "ranking").labels is None
    with pytest.raises(TypeError, match="row 1 of the examples must be"):
        make_examples([minisbert.InputExample()], "ranking")
