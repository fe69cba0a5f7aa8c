"""Look up the classes that a directory's files name: modules, activations, and code of its own.

A class is known by its whole path. One of the same name in another package exists because it
computes something else, so it is refused; nothing that a file names is ever imported.
"""

from __future__ import annotations

from minisbert.system.json_fields import Fields, Rule

_LIBRARY = "sentence_transformers"
# The packages that held or re-exported each kind of module, and the file of its class in them: up
# to 5.3 `models`, from 5.4 on one of the two others.
_MODULE_HOMES = {
    "Transformer": ("base.modules", "transformer"),
    "Pooling": ("sentence_transformer.modules", "pooling"),
    "Dense": ("base.modules", "dense"),
    "Normalize": ("base.modules", "normalize"),
}
# Path in modules.json -> the kind of module.
MODULE_PATHS = {
    f"{_LIBRARY}.{place}": kind
    for kind, (package, file) in _MODULE_HOMES.items()
    for place in (
        f"models.{kind}",
        f"models.{kind}.{kind}",
        f"{package}.{file}.{kind}",
        f"{package}.{kind}",
        f"sentence_transformer.modules.{kind}",
    )
}
MODULE_TYPE = Rule(
    f"{_LIBRARY}'s own {', '.join(_MODULE_HOMES)}, such as {_LIBRARY}.models.Transformer",
    lambda value: isinstance(value, str) and value in MODULE_PATHS,
    "no other module is supported, and none is ever imported",
)

# Activations by the class in torch.nn that a directory names -> their names here. Softmax, over the
# labels of a cross-encoder, is for scores only.
TORCH_ACTIVATIONS = {
    "Tanh": "tanh",
    "Identity": "identity",
    "ReLU": "relu",
    "GELU": "gelu",
    "Sigmoid": "sigmoid",
    "Softmax": "softmax",
}


def find_activation(fields: Fields, name: str, *, scores: bool = False) -> str | None:
    """Return the activation that a field names by a path in torch; None if there is no such field.

    scores  whether it turns logits into scores, not the outputs of a Dense module

    Raises ValueError for any other path.
    """
    known = {
        path: TORCH_ACTIVATIONS[torch_class]
        for torch_class in TORCH_ACTIVATIONS
        if scores or torch_class != "Softmax"
        for path in (f"torch.nn.{torch_class}", f"torch.nn.modules.{torch_class}")
    }
    known |= {make_torch_path(activation): activation for activation in known.values()}
    classes = [
        torch_class for torch_class in TORCH_ACTIVATIONS if f"torch.nn.{torch_class}" in known
    ]
    rule = Rule(
        f"the path in torch.nn of {', '.join(classes)}",
        lambda value: isinstance(value, str) and value in known,
        "no other activation is supported, and none is ever imported",
    )
    path = fields.find(name, rule, None)
    return None if path is None else known[path]


def make_torch_path(activation: str) -> str:
    """Return the path in torch by which a directory names an activation."""
    torch_class = next(key for key, name in TORCH_ACTIVATIONS.items() if name == activation)
    module = "linear" if activation == "identity" else "activation"
    return f"torch.nn.modules.{module}.{torch_class}"


_NO_CODE = Rule(
    "left out, since it names code in the model's own files",
    lambda value: value == {},
    "such a model computes something else than the plain one, and its code is never run",
)


def refuse_own_code(fields: Fields) -> None:
    """Refuse a config.json or tokenizer_config.json whose model comes with code of its own.

    Raises ValueError naming the classes.
    """
    fields.find("auto_map", _NO_CODE, None)
