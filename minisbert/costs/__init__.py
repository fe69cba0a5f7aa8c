"""The cost lab: what bi-encoders and cross-encoders cost on this machine.

In reading order; a file imports only from those before it:

    cost_model     predict the time of n sentences from measurements of fewer
    measurement    three ways to compare n sentences, timed at growing n
    machine        which system, versions, threads and BLAS a measurement ran on
    quality        quality beside cost, on pairs that people judged
    report         the table, the raw figures, the picture
    lab            one run of all of it
"""

from minisbert.costs.lab import run_cost_lab
from minisbert.costs.machine import describe_machine
from minisbert.costs.measurement import make_cross_encoder

__all__ = ["describe_machine", "make_cross_encoder", "run_cost_lab"]
