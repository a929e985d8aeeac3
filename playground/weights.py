"""Weights: read from files as data only, fitted to a backbone; published ones found by name.

ImageNet weights come from where torchvision's are published: as safetensors from the timm library's
repositories on the Hugging Face hub (VGG, ResNet), else torchvision's own files. They are kept in
PyTorch's cache, ~/.cache/torch/hub/checkpoints; TORCH_HOME or XDG_CACHE_HOME moves it. A file put
there by hand serves as well.

Nothing here runs code from a file: safetensors holds tensors only, and .pth is read with
PyTorch's `weights_only`. What is damaged, or holds anything but finite numbers, is refused.
"""

import contextlib
import hashlib
import http.client
import os
import sys
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from playground import ranks
from playground.errors import UserError, listed, nearest
from playground.run import sync, writing

if TYPE_CHECKING:
    from playground.backbone import Backbone

ZOO = Path(__file__).parent / "zoo"  # what ships: <name>.safetensors
TIMEOUT_S = 30  # without an answer or a byte
CHUNK_BYTES = 1 << 20
WRAPPERS = ("state_dict", "model_state_dict", "model")  # entries under which scripts save weights


class Source(NamedTuple):
    """Where a file is published, its name in the cache, and what is known of its SHA-256.

    `sha256` may be the digest's beginning (torchvision has its first 8 digits in the name) or
    empty: then what the hub itself states is checked.
    """

    url: str
    file: str
    sha256: str


def _timm(name: str, sha256: str = "") -> Source:
    url = f"https://huggingface.co/timm/{name}.tv_in1k/resolve/main/model.safetensors"
    return Source(url, f"{name}.tv_in1k.safetensors", sha256)


def _torchvision(file: str) -> Source:
    return Source(f"https://download.pytorch.org/models/{file}", file, file[-12:-4])


IMAGENET = {
    "alexnet": _torchvision("alexnet-owt-7be5be79.pth"),
    "vgg16": _timm("vgg16", "57b026918159a6bf9faf8405c3a551903768e7138989d9c6224a14227203fad8"),
    "vgg19": _timm("vgg19", "11aea017b543ff59233749d8f1cf544cda749378f5790d2fedab841fb86b7669"),
    "googlenet": _torchvision("googlenet-1378be20.pth"),
    "resnet18": _timm(
        "resnet18", "694f673df6520a3158624e8a89af086f59923ee4cd7436fe5bc3bc71d295ad81"
    ),
    "resnet34": _timm("resnet34"),
    "resnet50": _timm(
        "resnet50", "5d061a3c593d795bfe682d9b152bafbcf550579873492def3515b46db1189888"
    ),
    "squeezenet": _torchvision("squeezenet1_1-b8a52dc0.pth"),
    "mobilenet_v2": _torchvision("mobilenet_v2-b0353104.pth"),
}


def find(family: str, weights: str | Path) -> Path:
    """The file that `weights` names: "imagenet" (downloaded), a name of what ships, or a path."""
    if weights == "imagenet":
        return fetch(family)
    shipped = _shipped()
    if weights in shipped:
        return shipped[str(weights)]
    if not os.path.exists(weights):  # False too where the system refuses the very name
        names = ["imagenet", *shipped]
        raise UserError(
            f"Cannot read weights from {weights}: there is no such file, nor such a name among "
            f"{', '.join(names)}.{nearest(str(weights), names)}"
        )
    return Path(weights)


def is_name(weights: str | Path) -> bool:
    """Whether `find` knows them by name, so that they are found without a file of one's own."""
    return weights == "imagenet" or weights in _shipped()


def _shipped() -> dict[str, Path]:
    return {path.stem: path for path in sorted(ZOO.glob("*.safetensors"))}


def read(path: Path) -> dict[str, Tensor]:
    """The tensors by name of a .safetensors file, or of a .pth of PyTorch's: finite, on the CPU.

    UserError for every other file, whatever is in it.
    """
    try:
        if path.suffix == ".safetensors":
            return _checked(path, load_file(path))
        with warnings.catch_warnings(action="ignore"):  # of what a damaged file seems to be
            return _checked(path, _unwrapped(torch.load(path, "cpu", weights_only=True)))
    except UserError:
        raise
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    except SafetensorError as error:
        raise _unreadable(path, f"it is damaged ({error})") from error
    except Exception as error:  # hostile and damaged bytes make both libraries raise anything
        raise _unreadable(
            path,
            "it is damaged, no file of PyTorch's, or holds more than tensors (a whole model?), "
            "which might run code; a model's state_dict() can be read",
        ) from error


def _unwrapped(found: Any) -> Any:
    """What lies in entries named as in WRAPPERS, one in another too."""
    for _ in WRAPPERS:  # so often at most: a file can nest them endlessly
        inner = [found[key] for key in WRAPPERS if isinstance(found, dict) and key in found]
        found = next((each for each in inner if isinstance(each, dict)), found)
    return found


def _checked(path: Path, found: Any) -> dict[str, Tensor]:
    """`found` if it is tensors by name, of finite numbers on the CPU; else UserError."""
    if not isinstance(found, dict) or not found:
        raise _unreadable(path, "it holds no tensors by name")
    for name, tensor in found.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise _unreadable(path, f"it holds no tensors by name (but {name!r:.50})")
        plain = tensor.layout is torch.strided and not (tensor.is_quantized or tensor.is_complex())
        if tensor.device.type != "cpu" or not plain:  # PyTorch's meta device has no numbers
            raise _unreadable(path, f"its {name} holds no plain numbers")
        if not tensor.float().isfinite().all():  # as what they are loaded into
            raise _unreadable(path, f"some of its {name} are no finite numbers")
    return dict(found)


def _unreadable(path: Path, why: str) -> UserError:
    return UserError(f"Cannot read weights from {path}: {' '.join(why.split()).rstrip('.')}.")


def load_weights(backbone: "Backbone", path: Path) -> None:
    """Copy a .safetensors or .pth file into the backbone, or raise a UserError and change nothing.

    Keys and shapes must match, with these exceptions: a head of other classes, or none, leaves the
    backbone's own as it is (of a head of several layers, those that fit are taken), and a line on
    stderr says so; a first convolution for RGB is adapted to other channels; batch normalisations
    may lack their counters.
    """
    try:
        found = backbone.translate(read(path))
    except (LookupError, RuntimeError) as error:
        raise UserError(f"{path} holds weights of another architecture ({error}).") from error
    own = backbone.state_dict()
    first = next(key for key, tensor in own.items() if tensor.dim() == 4)
    if first in found and found[first].dim() == 4 and found[first].shape[1] == 3:
        found[first] = of_channels(found[first], own[first].shape[1])
    head, counter = f"{backbone.HEAD}.", "num_batches_tracked"
    fitting = {
        key: tensor
        for key, tensor in found.items()
        if not key.startswith(head) or (key in own and tensor.shape == own[key].shape)
    }
    missing = [
        key
        for key in own
        if key not in fitting and not (key.startswith(head) or key.endswith(counter))
    ]
    unexpected = [key for key in fitting if key not in own]
    reshaped = [
        f"{key} is {tuple(fitting[key].shape)} in the file, {tuple(own[key].shape)} here"
        for key in own
        if key in fitting and fitting[key].shape != own[key].shape
    ]
    wrong = [
        f"{what}: {listed(keys)}"
        for what, keys in (("missing", missing), ("unexpected", unexpected), ("shapes", reshaped))
        if keys
    ]
    if wrong:
        raise UserError(f"{path} holds weights of another architecture ({'; '.join(wrong)}).")
    backbone.load_state_dict(own | fitting)
    random = [key for key in own if key not in fitting and not key.endswith(counter)]
    if random and ranks.rank() == 0:
        print(
            f"{path} has no classifier that fits one of {backbone.num_classes} classes: "
            f"{listed(random)} start at random.",
            file=sys.stderr,
        )


def of_channels(weight: Tensor, channels: int) -> Tensor:
    """A convolution's weight (O, 3, k, k) for RGB as one for other channels (O, channels, k, k).

    For one channel their sum, so that a grey picture gives what it gave as RGB; for more than
    three they are repeated, and scaled so that equal channels give that too.
    """
    if channels == 1:
        return weight.sum(1, keepdim=True)
    repeated = weight.repeat(1, -(-channels // 3), 1, 1)[:, :channels]
    return repeated * (3 / channels)


def fetch(family: str) -> Path:
    """The file of a family's ImageNet weights in the cache, downloaded where it is not there.

    A download that broke off is taken up again; several processes wait for one. Raises UserError,
    which says which file to put where, when it cannot be had, and when the cache cannot be used.
    """
    if family not in IMAGENET:
        raise UserError(
            f"There are no ImageNet weights for {family}; there are for {', '.join(IMAGENET)}."
        )
    source = IMAGENET[family]
    path = Path(torch.hub.get_dir()) / "checkpoints" / source.file
    with _cache_used(path.parent):
        if path.exists():
            if not _sha256(path).startswith(source.sha256):
                raise UserError(
                    f"{path} is damaged: its SHA-256 is not {source.sha256}…; remove it."
                )
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{path}.lock").acquire()
    with lock:
        if not path.exists():  # another process may have been faster
            try:
                _download(source, path)
            except (OSError, http.client.HTTPException) as error:
                raise UserError(
                    f"Cannot download the ImageNet weights of {family} "
                    f"({getattr(error, 'reason', error)}): run again to go on, or get {source.url} "
                    f"by other means and put it at {path}."
                ) from error
    return path


@contextlib.contextmanager
def _cache_used(folder: Path) -> Iterator[None]:
    """UserError, which says how to choose another folder, where the system refuses this one."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"Cannot use {folder}, the folder for downloaded weights "
            f"({error.strerror or error}): set TORCH_HOME to a folder that can be written."
        ) from error


def _download(source: Source, path: Path) -> None:
    """Fetch into `<path>.part`, going on from what is there; check; give it its name."""
    part = path.with_name(path.name + ".part")
    stated = _receive(source.url, part)
    expected, found = source.sha256 or stated, _sha256(part)
    if not expected:  # a proxy or mirror may drop the hub's header
        part.unlink()
        raise OSError("the server states no checksum")
    if not found.startswith(expected):
        part.unlink()
        raise OSError(f"what came is damaged: SHA-256 {found}, not {expected}")
    with writing(path):
        sync(part)
        os.replace(part, path)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections, and keeps the SHA-256 that the hub states in the first of them."""

    sha256 = ""

    def redirect_request(self, request: Any, file: Any, code: int, message: str, headers: Any,
                         url: str) -> urllib.request.Request | None:  # fmt: skip
        self.sha256 = headers.get("X-Linked-Etag", self.sha256).strip('"')
        return super().redirect_request(request, file, code, message, headers, url)


def _receive(url: str, part: Path) -> str:
    """Append to `part` what it lacks of the file at `url`.

    Returns the SHA-256 that the server states, or "". Raises OSError or HTTPException where the
    transfer breaks off; what came by then stays in `part`.
    """
    redirects = _Redirects()
    begin = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "deep-playground"}  # some servers refuse urllib's own
    if begin:
        headers["Range"] = f"bytes={begin}-"
    try:
        request = urllib.request.Request(url, headers=headers)
        response = urllib.request.build_opener(redirects).open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not begin:
            raise
        return redirects.sha256  # there is nothing beyond `begin`
    with response:
        if response.status != 206:  # the server sends the whole file
            begin = 0
        length = response.headers.get("Content-Length")
        total = begin + int(length) if length else None
        with writing(part):
            file = open(part, "ab" if begin else "wb")  # noqa: SIM115
        with file:
            done, told = begin, _progress(part.name.removesuffix(".part"), total)
            while chunk := response.read(CHUNK_BYTES):
                with writing(part):
                    file.write(chunk)
                done += len(chunk)
                told(done)
    if total is not None and done != total:
        raise OSError(f"it broke off after {done / 1e6:.1f} of {total / 1e6:.1f} MB")
    return redirects.sha256


def _progress(name: str, total: int | None) -> Callable[[int], None]:
    """A function that tells on stderr how many bytes are done, as often as is worth a line."""
    live = sys.stderr.isatty()
    steps = 100 if live else 4
    last = -1

    def tell(done: int) -> None:
        nonlocal last
        step = steps * done // total if total else done // 10_000_000
        if step != last:
            last = step
            of = f" of {total / 1e6:.0f}" if total else ""
            end = "\r" if live and done != total else "\n"
            print(f"{name}: {done / 1e6:.0f}{of} MB", end=end, file=sys.stderr, flush=True)

    return tell


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
