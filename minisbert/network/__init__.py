"""The mathematics: from token ids to vectors, and back through the gradients.

In reading order; a file imports only from those before it:

    config            sizes of a network, names and shapes of its parameters
    families          how RoBERTa, MPNet, DistilBERT and ALBERT differ from BERT
    ragged            sentences in one array, without padding
    activations       GELU and the others, with their slopes
    matrices          weights that multiply themselves
    layers            linear, embedding, layer norm, softmax, dropout, attention
    relative_bias     MPNet's bias by the distance of two tokens
    bert              the network, from token ids to token vectors
    pooling           token vectors to one vector a sentence
    similarity        normalise, cosine, dot product, distances
    sentence_encoder  the bi-encoder: network, pooling and the modules after it
    heads             the cross-encoder: network and classification head
"""
