"""The mathematics: from token ids to vectors, and back through the gradients.

In reading order; a file imports only from those before it:

    config            sizes of a network, names and shapes of its parameters
    ragged            sentences in one array, without padding
    activations       GELU and others, each with its derivative
    matrices          weight matrices and the ways to multiply by them
    layers            linear, embedding, layer norm, softmax, dropout, attention
    bert              the network, from token ids to token vectors
    pooling           from token vectors to one vector for each sentence
    similarity        scaling to length 1, cosine, dot product
    sentence_encoder  the bi-encoder: network, pooling and the modules after it
    relative_bias     MPNet's relative position bias
    families          how RoBERTa, MPNet, DistilBERT and ALBERT differ from BERT
    heads             the cross-encoder: network and classification head
    comparisons       all similarities by name, all against all and pairwise
    arrangement       copies of the weights for batches of few tokens and of many
"""
