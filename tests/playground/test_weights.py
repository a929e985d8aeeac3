"""Downloads from a server on this machine, good and bad; and files that hold no weights."""

import hashlib
import io
import os
import random
import threading
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save, save_file

from playground import ranks, weights
from playground.backbone import create
from playground.errors import UserError

CUT = 300_000  # bytes after which a server of truncated files hangs up


def packed() -> bytes:
    """A SqueezeNet's state as torchvision publishes it."""
    torch.manual_seed(0)
    file = io.BytesIO()
    torch.save(create("squeezenet", num_classes=10).state_dict(), file)
    return file.getvalue()


CONTENT = packed()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT at /file; /cut breaks off, /hub redirects there and states the digest."""

    stated = SHA256
    asked: list[str]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range", "")
        self.server.asked.append(f"{self.path} {asked}".strip())
        if self.path == "/hub":
            self.send_response(302)
            self.send_header("Location", "/file")
            self.send_header("X-Linked-Etag", f'"{self.server.stated}"')
            self.end_headers()
            return
        begin = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if self.path == "/gone" or begin >= len(CONTENT):
            self.send_error(404 if self.path == "/gone" else 416)
            return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(CONTENT) - begin))
        self.end_headers()
        self.wfile.write(CONTENT[begin : CUT if self.path == "/cut" else None])

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server(("127.0.0.1", 0), Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def publish(monkeypatch: pytest.MonkeyPatch, url: str, sha256: str = SHA256[:8]) -> None:
    source = weights.Source(url, "squeezenet-test.pth", sha256)
    monkeypatch.setitem(weights.IMAGENET, "squeezenet", source)


def cached(tmp_path: Path) -> Path:
    return tmp_path / "cache/hub/checkpoints/squeezenet-test.pth"


def test_a_download_is_checked_kept_and_loaded(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    publish(monkeypatch, server.url("file"))
    net = create("squeezenet", num_classes=10, weights="imagenet")
    expected = torch.load(io.BytesIO(CONTENT), weights_only=True)
    assert all(torch.equal(tensor, expected[key]) for key, tensor in net.state_dict().items())
    assert cached(tmp_path).read_bytes() == CONTENT
    assert "squeezenet-test.pth: 3 of 3 MB" in capsys.readouterr().err
    create("squeezenet", weights="imagenet")
    assert server.asked == ["/file"]  # once

    cached(tmp_path).write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match=r"squeezenet-test.pth is damaged.*remove it"):
        weights.fetch("squeezenet")


def test_a_download_that_breaks_off_is_taken_up_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    publish(monkeypatch, server.url("cut"))
    sentence = (
        r"^Cannot download the ImageNet weights of squeezenet \(it broke off after 0.3 of \d.\d "
        r"MB\): run again to go on, or get http://127.*cut by other means and put it at "
        r".*squeezenet-test.pth\.$"
    )
    with pytest.raises(UserError, match=sentence):
        weights.fetch("squeezenet")
    assert not cached(tmp_path).exists()
    publish(monkeypatch, server.url("file"))
    assert weights.fetch("squeezenet").read_bytes() == CONTENT
    assert server.asked == ["/cut", f"/file bytes={CUT}-"]
    assert not list(cached(tmp_path).parent.glob("*.part"))


def test_a_whole_part_needs_its_name_only(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    part = cached(tmp_path).with_name("squeezenet-test.pth.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT)  # it was killed before it could rename it
    publish(monkeypatch, server.url("file"))
    assert weights.fetch("squeezenet").read_bytes() == CONTENT


@pytest.mark.parametrize("pinned", [True, False])
def test_another_file_than_published_is_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pinned: bool
) -> None:
    server.stated = "0" * 64
    if pinned:
        publish(monkeypatch, server.url("file"), "0badc0de")
    else:  # the hub's own word counts where no digest is known
        publish(monkeypatch, server.url("hub"), "")
    with pytest.raises(UserError, match=f"damaged: SHA-256 {SHA256}, not 0.*by other means"):
        weights.fetch("squeezenet")
    assert {path.suffix for path in cached(tmp_path).parent.iterdir()} <= {".lock"}
    server.stated = SHA256
    publish(monkeypatch, server.url("hub"), "")
    assert weights.fetch("squeezenet").read_bytes() == CONTENT


def test_offline_tells_which_file_goes_where(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    publish(monkeypatch, "http://127.0.0.1:9/squeezenet-test.pth")  # nobody listens there
    sentence = r"\(.*refused.*\).*get http://127.0.0.1:9/.* and put it at .*squeezenet-test.pth"
    with pytest.raises(UserError, match=sentence):
        create("squeezenet", weights="imagenet")
    publish(monkeypatch, server.url("gone"))
    with pytest.raises(UserError, match="Not Found"):
        weights.fetch("squeezenet")
    cached(tmp_path).write_bytes(CONTENT)  # as told
    assert weights.fetch("squeezenet") == cached(tmp_path)
    with pytest.raises(UserError, match="no ImageNet weights for deepconv; there are for alexnet"):
        create("deepconv", weights="imagenet")


def test_every_source_has_its_own_file() -> None:
    assert len({source.file for source in weights.IMAGENET.values()}) == len(weights.IMAGENET)
    for family, source in weights.IMAGENET.items():
        assert source.url.startswith("https://") and family.split("_")[0] in source.url
        assert all(digit in "0123456789abcdef" for digit in source.sha256)
    assert weights.IMAGENET["alexnet"].sha256 == "7be5be79"  # torchvision's names end in it
    lengths = {family: len(source.sha256) for family, source in weights.IMAGENET.items()}
    assert lengths["vgg16"] == lengths["vgg19"] == 64
    assert [family for family, length in lengths.items() if length not in (8, 64)] == ["resnet34"]


def test_names_that_ship_come_before_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(weights, "ZOO", tmp_path)
    source = create("arcade")
    save_file(source.state_dict(), tmp_path / "arcade.safetensors")
    loaded = create("arcade", weights="arcade")
    assert torch.equal(loaded.conv1_1.weight, source.conv1_1.weight)
    with pytest.raises(UserError, match=r"'imagnet'|imagnet: there is no such file.*'imagenet'"):
        create("vgg19", weights="imagnet")


@pytest.mark.parametrize("kind", ["lock", "folder", "file", "unwritable"])
def test_a_cache_that_cannot_be_used_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    publish(monkeypatch, "http://127.0.0.1:9/never-asked.pth")
    path = cached(tmp_path)
    if kind == "folder":  # in its place there is a file
        path.parent.parent.mkdir(parents=True)
        path.parent.touch()
    else:
        path.parent.mkdir(parents=True)
    if kind == "lock":
        Path(f"{path}.lock").mkdir()
    if kind == "file":
        path.mkdir()
    if kind == "unwritable":
        if os.geteuid() == 0:
            pytest.skip("root may write anywhere")
        path.parent.chmod(0o500)
    sentence = rf"^Cannot use {path.parent}, .* \(.+\): set TORCH_HOME to a folder that can be wri"
    with pytest.raises(UserError, match=sentence):
        create("squeezenet", weights="imagenet")


STATE = {"a.weight": torch.ones(8, 4), "a.bias": torch.ones(8), "count": torch.tensor(3)}


def saved(value: Any, legacy: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def test_files_that_hold_no_weights(tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"not weights")
    (tmp_path / "bad.pth").write_bytes(b"not weights")
    (tmp_path / "empty.pth").touch()
    (tmp_path / "cut.pth").write_bytes(CONTENT[:CUT])
    (tmp_path / "folder.pth").mkdir()
    for name in ("bad.safetensors", "bad.pth", "empty.pth", "cut.pth", "folder.pth",
                 "absent.safetensors"):  # fmt: skip
        with pytest.raises(UserError, match=f"^Cannot read weights from .*{name}: .*"):
            create("nature", 4, weights=tmp_path / name)
    with pytest.raises(UserError, match="there is no such file"):
        create("nature", 4, weights="w" * 300)  # longer than a name may be


@pytest.mark.parametrize("kind", ["zip.pth", "legacy.pth", "file.safetensors"])
def test_damaged_files_are_told_in_a_sentence(tmp_path: Path, kind: str) -> None:
    """Cut anywhere, or with wrong bytes; some can still be read."""
    whole = save(STATE) if kind.startswith("file") else saved(STATE, kind.startswith("legacy"))
    drawn = random.Random(0)
    told = 0
    for attempt in range(300):
        content = bytearray(whole)
        if attempt % 2:
            content = content[: drawn.randrange(len(content))]
        for _ in range(3):
            if content:
                content[drawn.randrange(min(len(content), 1000))] = drawn.randrange(256)
        (tmp_path / kind).write_bytes(content)
        with warnings.catch_warnings(action="error"):
            try:
                weights.read(tmp_path / kind)
            except UserError as error:
                told += 1
                assert str(error).startswith(f"Cannot read weights from {tmp_path / kind}: ")
                assert "\n" not in str(error)
    assert told > 200


class Runs:
    """Whoever unpickles this without care makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("legacy", [False, True])
def test_nothing_in_a_file_is_run(tmp_path: Path, legacy: bool) -> None:
    trap = tmp_path / "trap"
    for value in ({"a": torch.ones(2), "b": Runs(trap)}, create("nature", 4)):
        (tmp_path / "code.pth").write_bytes(saved(value, legacy))
        with pytest.raises(UserError, match=r"holds more than tensors .* which might run code"):
            weights.read(tmp_path / "code.pth")
    assert not trap.exists()


def endless() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["model"] = value
    return value


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ([torch.ones(2)], "no tensors by name"),
        (torch.ones(2), "no tensors by name"),
        (3, "no tensors by name"),
        ({}, "no tensors by name"),
        ({1: torch.ones(2)}, "no tensors by name .but 1"),
        ({"epoch": 3, "a": torch.ones(2)}, "no tensors by name .but 'epoch'"),
        ({"weights": STATE}, "no tensors by name .but 'weights'"),
        (endless(), "no tensors by name .but 'model'"),
        ({"a": torch.ones(2, device="meta")}, "its a holds no plain numbers"),
        ({"a": torch.ones(2, 2).to_sparse()}, "its a holds no plain numbers"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, "its a holds no plain numbers"),
        ({"b": torch.ones(2), "a": torch.tensor([1, float("nan")])}, "its a are no finite numbers"),
        ({"a": torch.tensor(float("inf"), dtype=torch.float16)}, "its a are no finite numbers"),
        ({"a": torch.tensor(1e300, dtype=torch.float64)}, "its a are no finite numbers"),
    ],
)
def test_foreign_contents_are_told(tmp_path: Path, value: Any, why: str) -> None:
    for legacy in (False, True):
        (tmp_path / "w.pth").write_bytes(saved(value, legacy))
        with pytest.raises(UserError, match=f"^Cannot read weights from .*w.pth: .*{why}"):
            weights.read(tmp_path / "w.pth")


def test_no_numbers_in_safetensors_are_told(tmp_path: Path) -> None:
    save_file({"a": torch.tensor([float("nan")])}, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="some of its a are no finite numbers"):
        weights.read(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state},
        lambda state: {"epoch": 3, "model": {"state_dict": state}},
        lambda state: {"model_state_dict": state, "model": "resnet18"},
    ],
)
def test_weights_are_found_where_scripts_save_them(tmp_path: Path, wrap: Any) -> None:
    for legacy in (False, True):
        (tmp_path / "w.pth").write_bytes(saved(wrap(STATE), legacy))
        found = weights.read(tmp_path / "w.pth")
        assert found.keys() == STATE.keys() and torch.equal(found["a.weight"], STATE["a.weight"])


def test_a_part_of_a_published_file_is_told(tmp_path: Path) -> None:
    """Which translating it into the family's own names does not find whole."""
    save_file({"e5.conv0.weight": torch.ones(3, 3, 1, 1)}, tmp_path / "slim.safetensors")
    with pytest.raises(UserError, match=r"slim.safetensors holds weights of another arch"):
        create("vgg19_slim16", weights=tmp_path / "slim.safetensors")


def test_a_classifier_that_starts_at_random_is_told_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    torch.manual_seed(0)
    for family, random_layers in (
        ("squeezenet", "classifier.1.weight, classifier.1.bias start"),
        ("deepconv", "classifier.5.weight, classifier.5.bias start"),
        ("resnet18", "fc.weight, fc.bias start"),
    ):
        options = {} if family == "squeezenet" else {"width": 0.1}
        for classes in (0, 7):
            path = tmp_path / f"{family}{classes}.safetensors"
            save_file(create(family, num_classes=classes, **options).state_dict(), path)
            create(family, num_classes=10, weights=path, **options)
            out, error = capsys.readouterr()
            assert not out and error.count("\n") == 1
            assert error.startswith(f"{path} has no classifier that fits one of 10 classes: ")
            assert random_layers in error or (classes == 0 and "classifier.2.weight, " in error)
            create(family, num_classes=classes, weights=path, **options)  # all of it fits
            create(family, weights=path, **options)
            monkeypatch.setattr(ranks, "rank", lambda: 1)  # the first process alone speaks
            create(family, num_classes=10, weights=path, **options)
            monkeypatch.undo()
            assert capsys.readouterr() == ("", "")
