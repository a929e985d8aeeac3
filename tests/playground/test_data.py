import itertools

import numpy as np
import pytest
import torch

from playground.data import (
    Pictures,
    batch_indices,
    fit,
    load,
    load_folder,
    parse,
    permutation,
    stratified,
)
from playground.errors import UserError
from playground.media import write_image


def quiet(text):
    pass


def test_a_fingerprint_tells_pictures_apart():
    pixels = torch.randint(0, 256, (200, 3, 4, 4), dtype=torch.uint8)
    labels = torch.arange(200) % 2
    whole = Pictures(pixels, labels, ["a", "b"])
    own = whole.fingerprint()
    assert own == Pictures(pixels.clone(), labels, ["a", "b"]).fingerprint()
    assert own["count"] == 200 and own["classes"] == ["a", "b"]
    others = [
        Pictures(255 - pixels, labels, ["a", "b"]),
        Pictures(pixels, 1 - labels, ["a", "b"]),
        Pictures(pixels, labels, ["a", "c"]),
        whole.take(torch.arange(199)),
        whole.take(torch.arange(199, -1, -1)),
    ]
    assert all(other.fingerprint() != own for other in others)
    assert whole.take(torch.arange(1)).fingerprint()["count"] == 1


# The grammar


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("mnist:data/mnist", ("mnist", "data/mnist")),
        ("cifar10:/data/c", ("cifar10", "/data/c")),
        ("flickr8k:x", ("flickr8k", "x")),
        ("coco:x:y", ("coco", "x:y")),
        ("atari:pong,breakout", ("atari", "pong,breakout")),
        ("mnist:C:\\data", ("mnist", "C:\\data")),
        ("C:\\data\\cats", ("folder", "C:\\data\\cats")),
        ("c:cats", ("folder", "c:cats")),
        ("cats", ("folder", "cats")),
        ("./mnist:x", ("folder", "./mnist:x")),
        ("/data/a:b", ("folder", "/data/a:b")),
        ("~/cats", ("folder", "~/cats")),
    ],
)
def test_grammar(spec, expected):
    assert parse(spec) == expected


def test_a_folder_with_a_colon_in_its_name_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cats:2024").mkdir()
    assert parse("cats:2024") == ("folder", "cats:2024")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("mnits:x", "Did you mean 'mnist'"),
        ("cifar:x", "Did you mean 'cifar10'"),
        ("https://x.org", "no kind 'https'"),
        ("mnist:", "mnist:FOLDER"),
        ("atari:  ", "atari:GAMES"),
        ("", "empty"),
        ("  ", "empty"),
    ],
)
def test_wrong_specs_are_told(spec, said):
    with pytest.raises(UserError) as caught:
        parse(spec)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_load_refuses_what_has_no_classes_or_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for spec in ("atari:pong", "flickr8k:x", "coco:x"):
        with pytest.raises(UserError, match="no classes"):
            load(spec, "train")
    for spec in ("mnist:none", "none"):
        with pytest.raises(UserError, match="no folder none"):
            load(spec, "train")
    with pytest.raises(UserError, match="Is mnist:DIR meant"):
        load("mnist", "train")
    with pytest.raises(UserError, match="no folder"):
        load_folder("none")


# Pictures


def small(n=10):
    pixels = torch.arange(n, dtype=torch.uint8)[:, None, None, None].expand(n, 3, 2, 4)
    return Pictures(pixels, torch.arange(n) % 2, ["even", "odd"])


def test_pictures_are_read_and_taken():
    pictures = small()
    assert (len(pictures), pictures.channels, pictures.size) == (10, 3, (2, 4))
    read = pictures.read(torch.tensor([7, 2, 2]))
    assert read.shape == (3, 3, 2, 4) and read.dtype == torch.uint8
    assert read[:, 0, 0, 0].tolist() == [7, 2, 2]
    odd = pictures.take(torch.tensor([9, 1, 3]))
    assert len(odd) == 3 and odd.labels.tolist() == [1, 1, 1] and odd.classes == ("even", "odd")
    again = odd.take(torch.tensor([2, 0]))
    assert again.read(torch.tensor([0, 1]))[:, 0, 0, 0].tolist() == [3, 9]
    assert pictures.labels.dtype == torch.int64


def test_reading_gives_pixels_of_its_own():
    pixels = torch.zeros(2, 1, 2, 2, dtype=torch.uint8)
    read = Pictures(pixels, torch.zeros(2), ["a"]).read(torch.tensor([0, 1]))
    read += 1
    assert not pixels.any()


def test_fit_resizes_the_shorter_side_and_keeps_the_centre():
    thirds = torch.tensor([10, 200, 90], dtype=torch.uint8).repeat_interleave(30)
    wide = thirds.expand(2, 1, 30, 90)
    assert fit(wide, None) is wide
    assert (fit(wide, 12) == 200).all() and fit(wide, 12).shape == (2, 1, 12, 12)
    assert (fit(wide.transpose(2, 3), 60) == 200).all()
    square = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)
    assert fit(square, 8) is square
    board = (torch.arange(64)[:, None] + torch.arange(64)) % 2 * 255
    grey = fit(board.to(torch.uint8)[None, None], 8)
    assert (grey.int() - 127).abs().max() <= 1, "antialiased"


def test_fit_halves_with_the_triangle_filter():
    pixels = torch.randint(0, 256, (5, 3, 12, 12), dtype=torch.uint8)
    weights = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    kernel = torch.outer(weights, weights).expand(3, 1, 4, 4)
    expected = torch.nn.functional.conv2d(pixels.float(), kernel, stride=2, padding=1, groups=3)
    inner = (slice(None), slice(None), slice(1, -1), slice(1, -1))  # at the edge weights are cut
    assert (fit(pixels, 6).float() - expected)[inner].abs().max() <= 0.501


def test_fit_works_in_parts(monkeypatch):
    pixels = torch.randint(0, 256, (2003, 1, 4, 4), dtype=torch.uint8)
    whole = fit(pixels, 2)
    assert torch.equal(whole[1990:], fit(pixels[1990:], 2))


# What is drawn when


def test_permutation_is_a_pure_function_of_seed_and_epoch():
    first = permutation(50, 3, 7)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert torch.equal(permutation(50, 3, 7), first)
    assert torch.equal(torch.get_rng_state(), before), "no global generator is used"
    assert first.sort().values.tolist() == list(range(50)) and first.dtype == torch.int64
    orders = [permutation(50, seed, epoch) for seed in (3, 4) for epoch in (6, 7)]
    assert len({tuple(order.tolist()) for order in orders}) == 4
    assert not torch.equal(permutation(50, 0, 1), permutation(50, 1, 0))
    first.zero_()
    assert permutation(50, 3, 7).any(), "a caller cannot spoil it for others"
    batch_indices(50, 10, 3, 0).zero_()
    assert batch_indices(50, 10, 3, 0).any()


def test_every_epoch_draws_each_picture_once():
    for n, batch_size in ((12, 4), (13, 4), (15, 4), (4, 4)):
        whole = n // batch_size
        for epoch in range(3):
            steps = range(epoch * whole, (epoch + 1) * whole)
            drawn = torch.cat([batch_indices(n, batch_size, 0, step) for step in steps])
            assert torch.equal(drawn, permutation(n, 0, epoch)[: whole * batch_size])


def test_fewer_pictures_than_a_batch_follow_one_another():
    drawn = torch.cat([batch_indices(5, 12, 1, step) for step in range(5)])
    assert drawn.shape == (60,)
    for epoch, part in enumerate(drawn.split(5)):
        assert torch.equal(part, permutation(5, 1, epoch))


@pytest.mark.parametrize(("n", "batch_size"), [(100, 24), (7, 24), (24, 24), (25, 24)])
@pytest.mark.parametrize("world", [2, 3, 4])
def test_processes_share_the_batch_of_one(n, batch_size, world):
    for step in (0, 1, 5, 17):
        shares = [batch_indices(n, batch_size, 9, step, rank, world) for rank in range(world)]
        assert {len(share) for share in shares} == {batch_size // world}
        assert torch.equal(torch.cat(shares), batch_indices(n, batch_size, 9, step))


def test_a_batch_that_cannot_be_shared_equally_is_refused():
    with pytest.raises(UserError, match="multiple of 3"):
        batch_indices(100, 10, 0, 0, 0, 3)
    with pytest.raises(ValueError):
        batch_indices(0, 10, 0, 0)


def test_order_is_uniform():
    """Where picture 0 comes in an epoch: each place as often, within five standard deviations."""
    places = [int((permutation(10, 0, epoch) == 0).nonzero()) for epoch in range(2000)]
    counts = np.bincount(places, minlength=10)
    assert np.abs(counts - 200).max() < 5 * (200 * 0.9) ** 0.5


# Shares of the labels


def test_stratified_takes_the_same_share_of_every_class():
    labels = torch.tensor([0] * 100 + [1] * 1000 + [2] * 3 + [5] * 10)
    labels = labels[permutation(len(labels), 0, 0)]
    for fraction, expected in (
        (0.01, [1, 10, 1, 1]),
        (0.1, [10, 100, 1, 1]),
        (1, [100, 1000, 3, 10]),
    ):
        chosen = stratified(labels, fraction, 0)
        assert labels[chosen].bincount()[[0, 1, 2, 5]].tolist() == expected
        assert (chosen.diff() > 0).all()


def test_smaller_shares_are_part_of_larger_ones():
    labels = permutation(500, 1, 0) % 7
    chosen = [set(stratified(labels, f, 3).tolist()) for f in (0.01, 0.03, 0.1, 0.5, 0.9, 1.0)]
    for smaller, larger in itertools.pairwise(chosen):
        assert smaller < larger
    assert torch.equal(stratified(labels, 0.1, 3), stratified(labels, 0.1, 3))
    assert not torch.equal(stratified(labels, 0.1, 3), stratified(labels, 0.1, 4))
    members = (labels == 0).nonzero().flatten()
    firsts = [int(stratified(labels, 0.01, seed)[0]) for seed in range(30)]
    assert len(set(firsts)) > 10 and len(members) > 10, "not the first ones of the file"


@pytest.mark.parametrize("fraction", [0, -0.1, 1.01, float("nan")])
def test_stratified_refuses_other_shares(fraction):
    with pytest.raises(UserError):
        stratified(torch.zeros(5, dtype=torch.long), fraction, 0)


# Through the door


def test_a_folder_is_loaded_at_a_size(tmp_path):
    for i, name in enumerate(("cats", "dogs")):
        for k in range(10):
            write_image(tmp_path / name / f"{k}.png", np.full((9, 6, 3), 100 * i + k, np.uint8))
    train = load(str(tmp_path), "train", 4, say=quiet)
    test = load(str(tmp_path), "test", 4, say=quiet)
    assert train.size == test.size == (4, 4) and train.classes == test.classes == ("cats", "dogs")
    assert (len(train), len(test)) == (15, 5)  # by their names' hashes
    values = [p.read(torch.arange(len(p)))[:, 0, 0, 0] for p in (train, test)]
    assert sorted(torch.cat(values).tolist()) == [*range(10), *range(100, 110)]
    for pictures, value in zip((train, test), values, strict=True):
        assert torch.equal(pictures.labels, (value >= 100).long())
    assert len(load_folder(tmp_path, say=quiet)) == 20


def test_what_is_said_goes_to_stderr(tmp_path, capsys):
    for name in ("cats", "dogs"):
        for k in range(4):
            write_image(tmp_path / name / f"{k}.png", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "cats" / "notes.txt").write_text("no picture")
    (tmp_path / "cats" / "more.txt").write_text("no picture")
    assert len(load_folder(str(tmp_path))) == 8
    out, error = capsys.readouterr()
    assert not out and error.count("\n") == 1 and "Left out 2 of 10 files" in error


def test_a_test_split_that_lacks_classes_is_told_once(tmp_path, capsys):
    for name in ("Train/cats", "Train/dogs", "Test/cats", "extra/cats"):
        write_image(tmp_path / name / "0.png", np.zeros((4, 4, 3), np.uint8))
    assert load(str(tmp_path), "test").classes == ("cats", "dogs")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and lines[0].endswith(": extra/.")
    assert lines[1].endswith("Test for 1 of 2 classes: dogs.")


# Development data


def test_mnist_as_published(data_dir):
    train, test = (load(f"mnist:{data_dir / 'mnist'}", split) for split in ("train", "test"))
    assert (len(train), len(test)) == (60_000, 10_000)
    assert train.size == (28, 28) and train.channels == 1 and train.classes == tuple("0123456789")
    pixels = train.read(torch.arange(60_000)).double() / 255
    assert float(pixels.mean()) == pytest.approx(0.1306604762738429, abs=1e-12)
    assert float(pixels.std(correction=0)) == pytest.approx(0.30810780, abs=1e-8)
    assert train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert train.labels.bincount().tolist() == [
        *(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
    ]
    # Upright, not transposed: a 1 is higher than it is wide.
    ones = train.read((train.labels == 1).nonzero().flatten())[:, 0].double().mean(0)
    places = torch.arange(28).double()
    high, wide = (float(torch.cov(places[None], aweights=ones.sum(side))) for side in (1, 0))
    assert high > 1.5 * wide


def test_cifar10_sheets(data_dir):
    test = load(f"cifar10:{data_dir / 'cifar10_jpeg'}", "test")
    assert len(test) == 10_000 and test.size == (32, 32) and test.channels == 3
    assert test.labels.bincount().tolist() == [1000] * 10
    pixels = test.read(torch.arange(10_000)).float() / 255
    # The published set's means are 0.4942, 0.4851, 0.4504 on the test split.
    assert pixels.mean((0, 2, 3)).tolist() == pytest.approx([0.4942, 0.4851, 0.4504], abs=2e-3)
    # Tiles are cut where they join: neighbouring rows are alike inside of pictures.
    steps = pixels.diff(dim=2).abs().mean((0, 1, 3))
    assert steps.max() < 1.3 * steps.median()
    blue = (pixels[:, 2] - pixels[:, 0]).mean((1, 2))
    share = [float(blue[test.labels == label].mean()) for label in (0, 8, 4, 6)]
    assert min(share[:2]) > max(share[2:]), "aeroplanes and ships are bluer than deer and frogs"
