"""The table of objectives: for each loss one record of the examples, model and options it needs.

`train` and the command line take an objective by its name. Whatever else depends on the objective
reads its record: the readers of files, the checks of examples, the help of the command line. A test
holds the table in README.md to the records.

A bi-encoder returns embeddings, (B, E) for each text of an example; a cross-encoder returns logits,
(B, k) for both texts together. A loss takes these arrays, and its backward returns as many
gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from minisbert.arguments import check_number, shorten
from minisbert.arrays import Array, Cache, Gradients, Parameters
from minisbert.training import losses

# The first part of the names of parameters that belong to an objective, not to the network.
OWN_PARAMETERS = "objective."
CLASSIFIER = f"{OWN_PARAMETERS}classifier"


class Objective(NamedTuple):
    """A loss, and what it needs.

    name             as users write it
    texts            how many texts an example may have
    labels           "scores" from 0 to 1, "classes", or "" for none
    forward          (*outputs, labels, cache=, **options) -> mean loss; labels only if needed
    backward         (dloss, cache) -> the gradient of each output
    summary          what is minimised, in a few words
    source           the publication or library that it follows
    cross_encoder    whether it takes logits of pairs, not embeddings of texts
    options          keywords of the forward that users may set, with their defaults
    fewest           the smallest number of examples that it can be trained on

    An objective may have parameters of its own, which are trained with the network's:

    make_parameters  (k, E, seed=, **options) -> name -> array, for k classes and width E
    classify         (*outputs, **parameters, **options) -> logits (B, k), to measure accuracy

    The parameter objective.classifier.weight is passed to `forward` as weight, and the array for
    its gradient to `backward` as dweight; `backward` returns such gradients after the others.
    """

    name: str
    texts: tuple[int, ...]
    labels: str
    forward: Callable[..., float]
    backward: Callable[..., Any]
    summary: str
    source: str
    cross_encoder: bool = False
    options: Mapping[str, Any] = {}
    fewest: int = 1
    make_parameters: Callable[..., dict[str, Array]] | None = None
    classify: Callable[..., Array] | None = None

    @property
    def needs(self) -> str:
        """An example in words, such as "two texts and a score"."""
        texts = " or ".join({2: "two", 3: "three"}[count] for count in self.texts) + " texts"
        label = {"scores": " and a score", "classes": " and a class", "": ""}[self.labels]
        return texts + label


def make_classifier(k: int, E: int, concatenation: str, *, seed: int) -> dict[str, Array]:
    """Draw the softmax objective's classifier, for k classes and embeddings of width E.

    Numbers are uniform between -1 / √inputs and 1 / √inputs, as in torch's Linear.
    """
    inputs = (concatenation.count(",") + 1) * E
    rng = np.random.default_rng([seed, k, inputs])
    most = 1 / np.sqrt(inputs)
    return {
        f"{CLASSIFIER}.weight": rng.uniform(-most, most, (k, inputs)).astype(np.float32),
        f"{CLASSIFIER}.bias": rng.uniform(-most, most, k).astype(np.float32),
    }


def _classify(u: Array, v: Array, *, weight: Array, bias: Array, concatenation: str) -> Array:
    """Return the logits of the softmax objective's classifier.  (B, E), (B, E) -> (B, k)"""
    return losses.concatenate_features(u, v, concatenation) @ weight.T + bias


_PAPER = "Reimers & Gurevych 2019, section 3"

# If a file's columns fit several objectives, the first of them is inferred.
OBJECTIVES = {
    objective.name: objective
    for objective in (
        Objective(
            name="cosine",
            texts=(2,),
            labels="scores",
            forward=losses.cosine_loss_forward,
            backward=losses.cosine_loss_backward,
            summary="mean squared error of the cosine",
            source=_PAPER,
        ),
        Objective(
            name="softmax",
            texts=(2,),
            labels="classes",
            forward=losses.softmax_loss_forward,
            backward=losses.softmax_loss_backward,
            summary="cross-entropy of a classifier on both embeddings",
            source=f"{_PAPER} and Table 6",
            options={"concatenation": "u,v,|u-v|"},
            make_parameters=make_classifier,
            classify=_classify,
        ),
        Objective(
            name="triplet",
            texts=(3,),
            labels="",
            forward=losses.triplet_loss_forward,
            backward=losses.triplet_loss_backward,
            summary="violation of a margin between Euclidean distances",
            source=f"{_PAPER} (the default margin of sentence-transformers is 5)",
            options={"margin": 1.0},
        ),
        Objective(
            name="ranking",
            texts=(2, 3),
            labels="",
            forward=losses.ranking_loss_forward,
            backward=losses.ranking_loss_backward,
            summary="cross-entropy of finding the right text among those of the batch",
            source="Henderson et al. 2017, section 4.4",
            options={"scale": 20.0},
            fewest=2,
        ),
        Objective(
            name="binary",
            texts=(2,),
            labels="scores",
            forward=losses.binary_cross_entropy_forward,
            backward=losses.binary_cross_entropy_backward,
            summary="binary cross-entropy",
            source="sentence-transformers' CrossEncoder",
            cross_encoder=True,
        ),
        Objective(
            name="classes",
            texts=(2,),
            labels="classes",
            forward=losses.cross_entropy_forward,
            backward=losses.cross_entropy_backward,
            summary="cross-entropy",
            source="sentence-transformers' CrossEncoder",
            cross_encoder=True,
        ),
    )
}

OPTION_NAMES = tuple(dict.fromkeys(name for each in OBJECTIVES.values() for name in each.options))


def name_option(option: str) -> str:
    """Return the name of an objective's option on the command line."""
    return "--cosine-scale" if option == "scale" else f"--{option}"  # --scale is that of labels


def find_objective(name: str, cross_encoder: bool | None = None) -> Objective:
    """Look an objective up by its name, among those for one kind of model if that is given.

    Raises ValueError with the names to choose from.
    """
    names = [
        objective.name
        for objective in OBJECTIVES.values()
        if cross_encoder in (None, objective.cross_encoder)
    ]
    if name not in names:
        model = {None: "", True: " for a cross-encoder", False: " for a bi-encoder"}[cross_encoder]
        raise ValueError(
            f"objective must be one of {', '.join(names)}{model}, got {shorten(name)}; "
            "choose another objective or model"
        )
    return OBJECTIVES[name]


def infer_objective(texts: int, labels: str, cross_encoder: bool) -> Objective | None:
    """Return the first objective for a number of texts and a kind of labels, None if none fits."""
    wanted = labels, cross_encoder
    for objective in OBJECTIVES.values():
        if wanted == (objective.labels, objective.cross_encoder) and texts in objective.texts:
            return objective
    return None


class ChosenLoss(NamedTuple):
    """An objective with its options chosen, as a step of training calls it."""

    objective: Objective
    options: dict[str, Any]

    def forward(
        self,
        outputs: Sequence[Array],
        labels: Array | None,
        parameters: Parameters,
        *,
        cache: Cache = None,
    ) -> float:
        """Return the mean loss.

        outputs     (B, E) for each text of an example, or one (B, k) of logits
        labels      (B,)   scores or class numbers, or None
        parameters         all trained parameters, with the objective's own
        """
        known = (labels,) if self.objective.labels else ()
        own = _find_own(parameters)
        return self.objective.forward(*outputs, *known, cache=cache, **own, **self.options)

    def backward(self, cache: list[Any], gradients: Gradients) -> list[Array]:
        """Return the gradients of the outputs; write those of the objective's own parameters."""
        own = {f"d{name}": gradient for name, gradient in _find_own(gradients).items()}
        found = self.objective.backward(1.0, cache, **own)
        found = list(found) if isinstance(found, tuple) else [found]
        return found[: len(found) - len(own)]

    def make_parameters(self, k: int, E: int, *, seed: int) -> dict[str, Array]:
        """Draw the objective's own parameters, for k classes and embeddings of width E."""
        make = self.objective.make_parameters
        return {} if make is None else make(k, E, seed=seed, **self.options)

    def classify(self, outputs: Sequence[Array], parameters: Parameters) -> Array:
        """Return logits (B, k) of the objective's own classifier."""
        if self.objective.classify is None:
            raise ValueError(
                "objective must be one with a classifier to measure classes, got "
                f"{self.objective.name}; measure examples of another kind"
            )
        return self.objective.classify(*outputs, **_find_own(parameters), **self.options)

    def describe(self) -> str:
        """Return the loss in words, with the options."""
        options = (
            f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in self.options.items()
        )
        return ", ".join([self.objective.summary, *options])


def _find_own(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Find an objective's own parameters, or their gradients, by the last part of their names."""
    return {
        name.rpartition(".")[2]: array
        for name, array in arrays.items()
        if name.startswith(OWN_PARAMETERS)
    }


def make_loss(
    name: str,
    *,
    margin: float | None = None,
    scale: float | None = None,
    concatenation: str | None = None,
) -> ChosenLoss:
    """Look an objective up by its name and choose its options; None means its default.

    margin         least difference between the distances of a negative and the positive
    scale          factor of the cosines before the softmax
    concatenation  one of `losses.CONCATENATIONS`

    Raises ValueError for an unknown name, or an option that is out of range or that the objective
    does not have.
    """
    objective = find_objective(name)
    given: dict[str, Any] = {"margin": margin, "scale": scale, "concatenation": concatenation}
    if concatenation not in (None, *losses.CONCATENATIONS):
        raise ValueError(
            f"concatenation must be one of {'; '.join(losses.CONCATENATIONS)}, "
            f"got {shorten(concatenation)}; leave it out for the paper's best"
        )
    for option in ("margin", "scale"):
        if given[option] is not None:
            remedy = "leave it out for the default"
            given[option] = check_number(option, given[option], above=True, remedy=remedy)
    for option, value in given.items():
        if value is not None and option not in objective.options:
            users = " and ".join(o.name for o in OBJECTIVES.values() if option in o.options)
            raise ValueError(
                f"{option} must be left out for {name}, got {shorten(value)}; it is an option of "
                f"{users} ({name_option(option)})"
            )
    return ChosenLoss(
        objective,
        {
            option: default if given.get(option) is None else given[option]
            for option, default in objective.options.items()
        },
    )
