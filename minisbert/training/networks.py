"""The bi-encoder and the cross-encoder in the form that training needs."""

from __future__ import annotations

from typing import Any

from minisbert.network.config import ModelConfig
from minisbert.network.heads import CrossEncoderConfig, pair_backward, pair_forward
from minisbert.network.sentence_encoder import sentence_backward, sentence_forward
from minisbert.training.step import Network


class _ConfiguredNetwork(Network):
    """A network that is pickled as its config, since no pickle can hold its functions."""

    config: ModelConfig | CrossEncoderConfig

    def __reduce__(self) -> tuple[Any, ...]:
        return make_network, (self.config,)


def make_network(config: ModelConfig | CrossEncoderConfig) -> Network:
    """Make the forward and the backward of the network that a config describes."""
    network = _ConfiguredNetwork(*_make_functions(config))
    network.config = config
    return network


def _make_functions(config: ModelConfig | CrossEncoderConfig) -> tuple[Any, Any]:
    if isinstance(config, ModelConfig):
        return (
            lambda parameters, batch, rng, cache: sentence_forward(
                parameters, config, batch, rng=rng, cache=cache
            ),
            lambda dout, gradients, batch, cache: sentence_backward(
                dout, gradients, config, batch=batch, cache=cache
            ),
        )
    return (
        lambda parameters, batch, rng, cache: pair_forward(
            parameters, config, batch, rng=rng, cache=cache
        ),
        lambda dout, gradients, batch, cache: pair_backward(
            dout, gradients, config, batch=batch, cache=cache
        ),
    )
