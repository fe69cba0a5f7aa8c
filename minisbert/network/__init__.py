"""The mathematics: from token ids to vectors, and back through the gradients.

In reading order; a file imports only from those before it:

    config            sizes of a network, names and shapes of its parameters
    ragged            sentences in one array, without padding
    activations       GELU and the others, with their slopes
    matrices          weights that multiply themselves
    layers            linear, embedding, layer norm, softmax, dropout, attention
    bert              the network, from token ids to token vectors
    pooling           token vectors to one vector a sentence
    similarity        scaling to length 1, cosine, dot product
    sentence_encoder  the bi-encoder: network, pooling and the modules after it
    relative_bias     MPNet's relative position bias
    families          where RoBERTa, MPNet, DistilBERT and ALBERT depart from BERT
    heads             the cross-encoder: network and classification head
    comparisons       all similarities by name, all against all and pairwise
    arrangement       weights arranged for batches of few tokens and of many
"""
