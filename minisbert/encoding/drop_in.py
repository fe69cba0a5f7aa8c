"""Arguments that code for sentence-transformers passes: taken, renamed, or refused with the reason.

No argument is silently ignored: each has its effect, asks for what happens anyway, or is refused.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from minisbert.arguments import check_device, shorten
from minisbert.system.threads import count_threads

if TYPE_CHECKING:
    from minisbert.encoding.signatures import Encode, Predict

Function = TypeVar("Function", bound=Callable[..., Any])

_TOKENIZER_OPTIONS = "set max_seq_length or max_length; the tokenizer's files hold the rest"
_MODEL_OPTIONS = "there is no transformers model to pass them to"
_CONFIG_OPTIONS = "edit config.json, which is read as it is"

# Arguments that sentence-transformers takes when it loads a model, and what to do here instead.
REFUSED_ARGUMENTS = {
    "automodel_args": _MODEL_OPTIONS,
    "backend": "the only one is NumPy",
    "classifier_dropout": _CONFIG_OPTIONS,
    "config_args": _CONFIG_OPTIONS,
    "config_kwargs": _CONFIG_OPTIONS,
    "keep_in_fp32_modules": "everything is float32",
    "model_card_data": "`save` writes the README of a saved model",
    "model_kwargs": _MODEL_OPTIONS,
    "modules": "give the directory of a model, whose modules.json names them",
    "processor_kwargs": _TOKENIZER_OPTIONS,
    "revision": "fetch that revision yourself and give its directory",
    "token": "fetch the model yourself and give its directory",
    "tokenizer_args": _TOKENIZER_OPTIONS,
    "tokenizer_kwargs": _TOKENIZER_OPTIONS,
    "trust_remote_code": "no code that comes with a model is ever run",
    "use_auth_token": "fetch the model yourself and give its directory",
}
# Values other than None, False and empty ones that ask for what happens anyway.
_USUAL_VALUES = {"revision": "main"}

# Arguments of `encode` and `predict` that have no effect here, and why.
_REFUSED_OPTIONS = {
    "task": "no module of the model depends on a task; choose a prompt",
    "processing_kwargs": _TOKENIZER_OPTIONS,
    "num_workers": "texts are tokenised by the calling thread; set threads",
}


def refuse_others(
    owner: str, others: Mapping[str, object], reasons: Mapping[str, str] = REFUSED_ARGUMENTS
) -> None:
    """Refuse arguments that have no effect here, unless they ask for nothing or for the usual.

    owner    the class or the method, for the message
    others   arguments by name
    reasons  what to do instead, by the name of each known argument

    Raises ValueError for an argument of sentence-transformers, TypeError for any other.
    """
    for name, value in others.items():
        if name not in reasons:
            raise TypeError(f"{owner} got an unexpected argument {shorten(name)}; leave it out")
        if value and value != _USUAL_VALUES.get(name):
            # Name the type alone: the value may be a secret, which must not get into a log.
            raise ValueError(
                f"{name} must be left out, got a {type(value).__name__}; {reasons[name]}"
            )


def accept_old_names(**names: str) -> Callable[[Function], Function]:
    """Decorate a function so that it takes its arguments by older names too: old="new".

    The names are those of earlier versions of sentence-transformers, and of this package.
    """

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def rename(*arguments: Any, **options: Any) -> Any:
            for old in names.keys() & options.keys():
                if names[old] in options:
                    raise TypeError(f"{names[old]} must be given once, got {old} too; leave it out")
                options[names[old]] = options.pop(old)
            return function(*arguments, **options)

        return cast("Function", rename)

    return decorate


def accept_options(function: Function) -> Function:
    """Decorate a method so that options without effect here may be passed if they ask for nothing.

    Raises ValueError if they ask for something.
    """

    @functools.wraps(function)
    def drop(*arguments: Any, **options: Any) -> Any:
        others = {name: options.pop(name) for name in _REFUSED_OPTIONS.keys() & options.keys()}
        refuse_others(function.__name__, others, _REFUSED_OPTIONS)
        return function(*arguments, **options)

    return cast("Function", drop)


def encode_method(function: Callable[..., Any]) -> Encode:
    """Give a method the type of `encode`, and let it take `inputs` as `sentences` too."""
    return cast("Encode", accept_old_names(sentences="inputs")(accept_options(function)))


def predict_method(function: Callable[..., Any]) -> Predict:
    """Give a method the type of `predict`, and let it take older names of its arguments too."""
    rename = accept_old_names(sentences="inputs", activation_fct="activation_fn")
    return cast("Predict", rename(accept_options(function)))


# The order in sentence-transformers of the options that a method only passes on.
_ORDERS = {
    "encode": (
        *("batch_size", "show_progress_bar", "output_value", "precision", "convert_to_numpy"),
        *("convert_to_tensor", "device", "normalize_embeddings", "truncate_dim", "pool"),
        "chunk_size",
    ),
    "rank": (
        *("prompt_name", "prompt", "batch_size", "show_progress_bar", "activation_fn", "device"),
        *("pool", "chunk_size"),
    ),
}


def name_positions(method: str, values: Sequence[Any]) -> dict[str, Any]:
    """Return options that were given by position, with their names.

    Raises TypeError if there are more of them than names.
    """
    order = _ORDERS[method]
    if len(values) > len(order):
        raise TypeError(
            f"arguments by position must end with {order[-1]}, got {len(values) - len(order)} "
            "more; pass them by name"
        )
    return dict(zip(order, values, strict=False))


# Pools of processes, which are threads here


def start_pool(devices: object = None) -> dict[str, Any]:
    """Return what `start_multi_process_pool` does: one worker for each device, by default a core.

    The keys are those of sentence-transformers' pools. Workers are threads, which each call of
    `encode` or `predict` starts and ends, so a pool holds nothing but their number.

    Raises ValueError for another device than the CPU.
    """
    if devices is None:
        devices = ["cpu"] * count_threads(None)
    if not isinstance(devices, (list, tuple)) or not devices:
        raise ValueError(
            f'target_devices must be a list such as ["cpu", "cpu"], got {shorten(devices)}; '
            "leave it out for one worker for each core"
        )
    for device in devices:
        check_device(device)
    return {"input": None, "output": None, "processes": ["cpu"] * len(devices)}


def count_workers(threads: int | None, default: int | None, *, pool: Any, device: object) -> int:
    """Return the number of threads of a call: `threads`, else those of a pool or list of devices.

    default  threads of the model, if the call names none

    Raises ValueError for a pool that is not one of `start_pool`, or was stopped.
    """
    workers = None
    if pool is not None:
        workers = pool.get("processes") if isinstance(pool, dict) else None
        if not isinstance(workers, list) or not workers or {*map(type, workers)} != {str}:
            raise ValueError(
                "pool must be one that start_multi_process_pool returned and nobody stopped, got "
                f"{shorten(pool)}; start one, or leave it out"
            )
    elif isinstance(device, (list, tuple)) and device:
        workers = device
    if threads is None and workers is not None:
        return min(len(workers), count_threads(None))
    return count_threads(default if threads is None else threads)
