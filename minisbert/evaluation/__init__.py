"""How good a model is: measures, files of judged texts, and what to do with both.

In reading order; a file imports only from those before it:

    metrics        correlation, ranking measures, F1 at a threshold
    judged_files   STS and BEIR files
    evaluate       a model measured on them
"""
