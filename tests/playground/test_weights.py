"""Downloads from a server on this machine, good and bad; and files that hold no weights."""

import hashlib
import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from playground import weights
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


def test_names_that_ship_come_before_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(weights, "ZOO", tmp_path)
    source = create("arcade")
    save_file(source.state_dict(), tmp_path / "arcade.safetensors")
    loaded = create("arcade", weights="arcade")
    assert torch.equal(loaded.conv1_1.weight, source.conv1_1.weight)
    with pytest.raises(UserError, match=r"'imagnet'|imagnet: there is no such file.*'imagenet'"):
        create("vgg19", weights="imagnet")


def test_files_that_hold_no_weights(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.ones(2)}}, tmp_path / "wrapped.pth")
    assert weights.read(tmp_path / "wrapped.pth")["a"].tolist() == [1, 1]
    (tmp_path / "bad.safetensors").write_bytes(b"not weights")
    (tmp_path / "bad.pth").write_bytes(b"not weights")
    (tmp_path / "empty.pth").touch()
    (tmp_path / "cut.pth").write_bytes(CONTENT[:CUT])
    (tmp_path / "folder.pth").mkdir()
    torch.save({"code": Handler}, tmp_path / "code.pth")  # a class of ours: reading it would run
    torch.save([torch.ones(2)], tmp_path / "list.pth")
    for name in ("bad.safetensors", "bad.pth", "empty.pth", "cut.pth", "folder.pth", "code.pth",
                 "list.pth", "absent.safetensors"):  # fmt: skip
        with pytest.raises(UserError, match=f"^Cannot read weights from .*{name}: .*"):
            create("nature", 4, weights=tmp_path / name)
