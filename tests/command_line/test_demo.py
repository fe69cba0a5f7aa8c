"""The demo, with the real weights and the library of the Python that runs the tests."""

import pytest

from minisbert.command_line import demo


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("demo") / "index"


@pytest.fixture(scope="module")
def index(minilm, home):
    """Make and save the demo's index once."""
    return demo.prepare_index(minilm, home)


@pytest.mark.parametrize(
    ("question", "answers"),
    [
        (demo.QUESTIONS[0], {"csv", "csv.reader"}),
        (demo.QUESTIONS[1], {"calendar.monthrange"}),
        (demo.QUESTIONS[2], {"subprocess.run", "subprocess.check_output"}),
    ],
)
def test_answers_are_what_programmers_name(minilm, index, question, answers):
    """Each question of the demo has a known answer among the first three hits."""
    hits = demo.answer(minilm, index, question)
    assert len(hits) == 3
    assert answers & {hit.text.split(" ")[0] for hit in hits}


@pytest.fixture
def prepared(minilm, index, home, monkeypatch):
    """Make the model and the index look as if they were on this machine already."""
    monkeypatch.setattr(demo, "SentenceTransformer", lambda name: minilm)
    monkeypatch.setattr(demo, "find_directory", lambda: home)

    def refuse():
        raise AssertionError("the library is read again")

    monkeypatch.setattr(demo.standard_library, "read_standard_library", refuse)


def test_second_run_reuses_the_index(prepared, capsys):
    """A saved index is opened, not made again, and the three questions are answered from it."""
    demo.run_demo()
    printed = capsys.readouterr().out
    assert "open the saved index: " in printed
    assert all(f"\n{question}\n  encode the question: " in printed for question in demo.QUESTIONS)
    assert "csv.reader" in printed


def test_own_question(prepared, capsys):
    """A question that is passed is answered alone."""
    demo.run_demo("greatest common divisor")
    printed = capsys.readouterr().out
    assert "math.gcd" in printed
    assert demo.QUESTIONS[0] not in printed


def test_index_depends_on_python(monkeypatch):
    """Another version of Python gets an index of its own."""
    here = demo.find_directory()
    assert here == demo.find_directory()
    monkeypatch.setattr(demo.platform, "python_version", lambda: "3.99.0")
    assert demo.find_directory() != here
