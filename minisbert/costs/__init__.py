"""The cost lab: what bi-encoders and cross-encoders cost on this machine.

In reading order; a file imports only from those before it:

    measurement    three ways to compare n sentences, timed and modelled
    machine        what ran where
    quality        quality beside cost
    report         the table, the raw figures, the picture
    lab            one run of all of it
"""
