import gzip
import hashlib
import pickle
import shutil

import numpy as np
import pytest
import torch

from playground.errors import UserError
from playground.media import write_image
from playground.readers import CIFAR10_CLASSES, cifar10, mnist

RNG = np.random.default_rng(0)
DIGITS = RNG.integers(0, 256, (7, 28, 28), np.uint8)
DIGIT_LABELS = np.array([5, 0, 4, 1, 9, 2, 1], np.uint8)
PHOTOS = RNG.integers(0, 256, (10, 3, 32, 32), np.uint8)
PHOTO_LABELS = np.arange(10)[::-1].copy()


def idx(array):
    header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    return header + array.tobytes()


def write_mnist(folder, part="train", dot="-", gz=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in (("images-idx3", DIGITS), ("labels-idx1", DIGIT_LABELS)):
        data = gzip.compress(idx(array)) if gz else idx(array)
        name = name.replace("-idx", f"{dot}idx")
        (folder / f"{part}-{name}-ubyte{'.gz' if gz else ''}").write_bytes(data)


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("dot", ["-", "."])
@pytest.mark.parametrize("place", [".", "raw", "MNIST/raw"])
def test_mnist_in_every_usual_form(tmp_path, gz, dot, place):
    for part, split in (("train", "train"), ("t10k", "test")):
        write_mnist(tmp_path / place, part, dot, gz)
        pixels, labels, names = mnist(tmp_path, split)
        assert np.array_equal(pixels.numpy(), DIGITS[:, None]) and pixels.dtype == torch.uint8
        assert labels.tolist() == DIGIT_LABELS.tolist() and labels.dtype == torch.int64
        assert names == tuple("0123456789")


def damage(data):
    """Name -> what can be wrong with an idx file of pictures."""
    return {
        "empty": b"",
        "short": data[: len(data) // 2],
        "long": data + b"0",
        "header": data[:7],
        "signed": b"\0\0\x09" + data[3:],
        "dimensions": data[:3] + b"\x02" + data[4:],
        "text": b"<html>Not found</html>",
        "gzip": gzip.compress(data)[:-20],
        "not gzip": b"\x1f\x8b" + data,
    }


@pytest.mark.parametrize("kind", damage(b"0" * 100))
def test_damaged_mnist_is_told(tmp_path, kind):
    write_mnist(tmp_path)
    file = tmp_path / "train-images-idx3-ubyte"
    file.write_bytes(damage(file.read_bytes())[kind])
    with pytest.raises(UserError) as caught:
        mnist(tmp_path, "train")
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_incomplete_mnist_is_told(tmp_path):
    write_mnist(tmp_path)
    with pytest.raises(UserError, match="There is no t10k-images-idx3-ubyte"):
        mnist(tmp_path, "test")
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.write_bytes(idx(DIGIT_LABELS[:-1]))
    with pytest.raises(UserError, match="7 pictures but 6 labels"):
        mnist(tmp_path, "train")
    shutil.copy(tmp_path / "train-images-idx3-ubyte", labels)
    with pytest.raises(UserError, match="labels"):
        mnist(tmp_path, "train")


def write_cifar(folder, form):
    """All batches of CIFAR-10, two pictures each in training, in one of its forms."""
    folder.mkdir(parents=True, exist_ok=True)
    batches = {f"data_batch_{i + 1}": slice(2 * i, 2 * i + 2) for i in range(5)}
    for name, part in {**batches, "test_batch": slice(0, 10)}.items():
        pixels, labels = PHOTOS[part].reshape(-1, 3072), PHOTO_LABELS[part]
        if form == "binary":
            records = np.concatenate([labels[:, None].astype(np.uint8), pixels], axis=1)
            (folder / f"{name}.bin").write_bytes(records.tobytes())
        else:
            protocol = int(form[-1])
            key = str if protocol else (lambda text: text)
            batch = {key("data"): pixels, key("labels"): labels.tolist(), key("batch_label"): name}
            (folder / name).write_bytes(pickle.dumps(batch, protocol))


@pytest.mark.parametrize("form", ["binary", "python 2", "python 3", "python 4"])
def test_cifar10_as_published(tmp_path, form):
    inner = "cifar-10-batches-bin" if form == "binary" else "cifar-10-batches-py"
    for folder in (tmp_path / "flat", tmp_path / "nested" / inner):
        write_cifar(folder, form)
    for path in (tmp_path / "flat", tmp_path / "nested"):
        for split in ("train", "test"):
            pixels, labels, names = cifar10(path, split)
            assert np.array_equal(pixels.numpy(), PHOTOS)
            assert labels.tolist() == PHOTO_LABELS.tolist() and labels.dtype == torch.int64
            assert names == CIFAR10_CLASSES


def test_cifar10_pickled_by_python_2(tmp_path):
    """The published files: protocol 2 with byte strings, as no Python of today writes them."""
    pixels, labels = PHOTOS.reshape(-1, 3072), PHOTO_LABELS.tolist()

    def text(data):
        return b"U" + bytes([len(data)]) + data

    raw = b"T" + len(pixels.tobytes()).to_bytes(4, "little") + pixels.tobytes()
    dtype = b"cnumpy\ndtype\n(" + text(b"u1") + b"K\x00K\x01tR(K\x03" + text(b"|") + b"NNN"
    dtype += b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text(b"b") + b"tR"
    array += b"(K\x01(K\x0aM\x00\x0ct" + dtype + b"\x89" + raw + b"tb"
    listed = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    data = b"\x80\x02}(" + text(b"data") + array + text(b"labels") + listed + b"u."
    assert np.array_equal(pickle.loads(data, encoding="bytes")[b"data"], pixels), "well made"
    (tmp_path / "test_batch").write_bytes(data)
    read, read_labels, _ = cifar10(tmp_path, "test")
    assert np.array_equal(read.numpy(), PHOTOS) and read_labels.tolist() == labels


class Evil:
    """Runs code where it is unpickled by the usual means."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("place", ["entry", "labels", "whole"])
def test_pickled_code_is_not_run(tmp_path, place):
    trace = tmp_path / "trace"
    pickle.loads(pickle.dumps(Evil(trace))).close()
    assert trace.exists(), "the trap works"
    trace.unlink()
    batch = {"data": PHOTOS.reshape(-1, 3072), "labels": PHOTO_LABELS.tolist()}
    batch = {
        "entry": {**batch, "x": Evil(trace)},
        "labels": {**batch, "labels": Evil(trace)},
        "whole": Evil(trace),
    }[place]
    (tmp_path / "test_batch").write_bytes(pickle.dumps(batch, 2))
    with pytest.raises(UserError, match="asks for"):
        cifar10(tmp_path, "test")
    assert not trace.exists()


PICKLED = {"data": PHOTOS.reshape(-1, 3072), "labels": PHOTO_LABELS.tolist()}


@pytest.mark.parametrize(
    "batch",
    [
        {"data": PICKLED["data"]},
        {**PICKLED, "labels": [1]},
        {**PICKLED, "data": PICKLED["data"].astype(np.float32)},
        {**PICKLED, "data": PICKLED["data"][:, :-1].copy()},
        {**PICKLED, "data": np.asfortranarray(PICKLED["data"])},
        {**PICKLED, "data": [1, 2]},
        [1, 2],
        {**PICKLED, "labels": [10] * 10},
        {**PICKLED, "labels": [-1] * 10},
    ],
)
def test_foreign_pickles_are_told(tmp_path, batch):
    (tmp_path / "test_batch").write_bytes(pickle.dumps(batch, 2))
    with pytest.raises(UserError, match=r"not a batch of CIFAR-10|not CIFAR-10"):
        cifar10(tmp_path, "test")


@pytest.mark.parametrize("data", [b"", b"text", b"\x80\x02", pickle.dumps(PICKLED, 2)[:-500]])
def test_damaged_pickles_are_told(tmp_path, data):
    (tmp_path / "test_batch").write_bytes(data)
    with pytest.raises(UserError, match="not a batch of CIFAR-10"):
        cifar10(tmp_path, "test")


def test_damaged_binary_cifar10_is_told(tmp_path):
    write_cifar(tmp_path, "binary")
    (tmp_path / "test_batch.bin").write_bytes(b"0" * 5000)
    with pytest.raises(UserError, match="not whole pictures"):
        cifar10(tmp_path, "test")
    (tmp_path / "test_batch.bin").write_bytes(b"\x0b" + bytes(3072))
    with pytest.raises(UserError, match="labels"):
        cifar10(tmp_path, "test")
    (tmp_path / "data_batch_3.bin").unlink()
    with pytest.raises(UserError, match=r"lacks data_batch_3\.bin"):
        cifar10(tmp_path, "train")


def write_sheets(folder, suffix=".png"):
    """Ten tiles on two sheets of 2 × 3: the last row of the second one holds one of them."""
    folder.mkdir(parents=True, exist_ok=True)
    tiles = np.concatenate([PHOTOS, np.zeros((2, 3, 32, 32), np.uint8)])
    for i, part in enumerate(np.split(tiles, 2)):
        grid = part.reshape(2, 3, 3, 32, 32).transpose(0, 3, 1, 4, 2)  # rows, y, columns, x, c
        write_image(folder / f"test_{i}{suffix}", grid.reshape(64, 96, 3))
    np.save(folder / "test_labels.npy", PHOTO_LABELS)


def test_cifar10_as_sheets(tmp_path):
    write_sheets(tmp_path)
    pixels, labels, names = cifar10(tmp_path, "test")
    assert np.array_equal(pixels.numpy(), PHOTOS) and names == CIFAR10_CLASSES
    assert labels.tolist() == PHOTO_LABELS.tolist()


def test_wrong_sheets_are_told(tmp_path):
    with pytest.raises(UserError, match="There is no CIFAR-10"):
        cifar10(tmp_path, "test")
    write_sheets(tmp_path)
    with pytest.raises(UserError, match="There is no CIFAR-10"):
        cifar10(tmp_path, "train")
    labels = tmp_path / "test_labels.npy"
    for count in (5, 13):
        np.save(labels, np.zeros(count, int))
        with pytest.raises(UserError, match="hold 12 tiles"):
            cifar10(tmp_path, "test")
    for wrong in (np.zeros((10, 1), int), np.zeros(10), np.array([{}] * 10, object)):
        np.save(labels, wrong, allow_pickle=True)
        with pytest.raises(UserError, match="does not hold labels"):
            cifar10(tmp_path, "test")
    for data in (b"", b"text", b"PK\x03\x04"):
        labels.write_bytes(data)
        with pytest.raises(UserError, match="does not hold labels"):
            cifar10(tmp_path, "test")
    np.save(labels, PHOTO_LABELS)
    (tmp_path / "test_1.png").write_bytes(b"torn")
    with pytest.raises(UserError, match=r"test_1\.png is not a picture"):
        cifar10(tmp_path, "test")


def test_mnist_files_are_those_of_the_manifest(data_dir):
    known = {
        "train": ("6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624"),
        "test": ("2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"),
    }
    for split, sums in known.items():
        pixels, labels, _ = mnist(data_dir / "mnist", split)
        arrays = (pixels[:, 0].numpy(), labels.numpy().astype(np.uint8))
        assert tuple(hashlib.md5(idx(array)).hexdigest() for array in arrays) == sums
