"""Fine-tuning: from a loss to a saved model.

In reading order; a file imports only from those before it:

    losses         the paper's three losses and others, each with its gradient
    optimizer      AdamW
    step           one step: forward, loss, backward, update
    objectives     objectives by name
    networks       the two networks as training sees them
    tables         CSV, TSV and JSON lines with texts and labels
    examples       examples, and the objective they are for
    checkpoints    a run on the disk
    development    a model in training, measured
    run            epochs, evaluations, the best model
    loop           `train`
"""
