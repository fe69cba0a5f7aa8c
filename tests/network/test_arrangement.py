"""Copies of weights are made when they are first needed, once, and also after a fork."""

import os
import signal
import threading

import numpy as np
import pytest

from minisbert.network import arrangement
from minisbert.network.arrangement import FEW_TOKENS, ArrangedParameters


def test_a_copy_is_made_once(tiny):
    """Batches of few tokens share one copy, batches of many another."""
    arranged = ArrangedParameters(tiny.parameters)
    assert arranged.choose(1) is arranged.choose(FEW_TOKENS)
    assert arranged.choose(FEW_TOKENS + 1) is arranged.choose(10_000)
    assert arranged.choose(1) is not arranged.choose(10_000)


def test_a_copy_is_made_once_for_two_threads(tiny, monkeypatch):
    """A thread that comes while another makes a copy waits, and gets the same one."""
    arrange, made = arrangement.arrange_for_few, []

    def arrange_slowly(parameters):
        second.start()
        second.join(0.05)
        return arrange(parameters)

    monkeypatch.setattr(arrangement, "arrange_for_few", arrange_slowly)
    arranged = ArrangedParameters(tiny.parameters)
    second = threading.Thread(target=lambda: made.append(arranged.choose(1)))
    copy = arranged.choose(1)
    second.join(10)
    assert made[0] is copy


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_fork_while_a_copy_is_made(tiny, monkeypatch):
    """A child that is forked while another thread makes a copy makes its own."""
    begun, done = threading.Event(), threading.Event()
    arrange = arrangement.arrange_for_few
    arranged = ArrangedParameters(tiny.parameters)

    def arrange_slowly(parameters):
        begun.set()
        done.wait(10)
        return arrange(parameters)

    monkeypatch.setattr(arrangement, "arrange_for_few", arrange_slowly)
    thread = threading.Thread(target=arranged.choose, args=(1,))
    thread.start()
    begun.wait(10)
    child = os.fork()
    if not child:
        signal.alarm(5)  # ends a child that waits
        arrangement.arrange_for_few = arrange
        name = "encoder.layer.0.output.LayerNorm.bias"
        same = np.array_equal(arranged.choose(1)[name], tiny.parameters[name])
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
    done.set()
    thread.join()
