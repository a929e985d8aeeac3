"""Trained painters: any picture in any blend of styles, their files, and broken ones."""

import json
import math
import unicodedata
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from generators import painter as painters
from generators import style
from generators.painter import KEY, MOVED, STROKE, Credit, Film, Painter, load
from generators.painter_net import (
    GRAIN,
    STRIDE,
    Held,
    Plan,
    StyledNorm,
    fixed_grain,
    grain,
    one_hot,
    softened,
)
from playground.errors import UserError
from playground.frames import Box, Frame
from playground.media import write_image
from playground.run import Run

PLAN = Plan(("starry_night", "great_wave", "the_scream"), 8, 4, 1)
CARD = {"styles": {"great_wave": {"title": "The Great Wave", "year": "1831"}}, "updates": 7}


def made(plan: Plan = PLAN, seed: int = 0) -> Painter:
    """A painter with random weights, in which each style looks different."""
    torch.manual_seed(seed)
    network = plan.build()
    with torch.no_grad():
        network.canvas.weight.normal_(0, 0.1)
        for module in network.modules():
            if isinstance(module, StyledNorm):
                module.gains.normal_(1, 0.5)
                module.shifts.normal_(0, 0.5)
    return Painter(network, plan, dict(CARD))


@pytest.fixture(scope="module")
def painter() -> Painter:
    return made()


def pixels(height=40, width=36, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def unit(array):
    return torch.from_numpy(array).permute(2, 0, 1)[None] / 255


# the network


def test_normalisation_is_each_pictures_own_with_the_styles_numbers():
    """Against the definition, in a loop; one picture and several, on both of its ways."""
    norm = StyledNorm(3, 2)
    torch.manual_seed(0)
    with torch.no_grad():
        norm.gains.normal_()
        norm.shifts.normal_()
    x = torch.randn(4, 3, 5, 6)
    mixture = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.25, 0.75], [0.5, 0.5]])
    expected = torch.empty_like(x)
    for b in range(4):
        for c in range(3):
            plane = x[b, c]
            gain = sum(float(mixture[b, s]) * norm.gains[s, c] for s in range(2))
            shift = sum(float(mixture[b, s]) * norm.shifts[s, c] for s in range(2))
            spread = (plane.var(unbiased=False) + 1e-5).sqrt()
            expected[b, c] = (plane - plane.mean()) / spread * gain + shift
    torch.testing.assert_close(norm(x, mixture), expected)
    torch.testing.assert_close(norm(x[2:3], mixture[2:3]), expected[2:3])


@pytest.mark.parametrize("size", [(16, 16), (17, 30), (210, 160), (33, 19)])
def test_paintings_are_as_large_as_pictures(painter, size):
    found = painter(torch.rand(2, 3, *size), "great_wave")
    assert found.shape == (2, 3, *size) and found.dtype == torch.float32
    assert found.min() >= 0 and found.max() <= 1 and not found.requires_grad


def test_sides_that_are_no_multiple_of_the_stride_are_padded_by_the_nearest_pixels(painter):
    picture = unit(pixels(38, 35))
    whole = F.pad(picture, (0, 1, 0, 2), mode="replicate")
    torch.testing.assert_close(painter(picture), painter(whole)[:, :, :38, :35])


def test_a_batch_is_its_pictures(painter):
    torch.manual_seed(0)
    network, x = painter.network, torch.rand(3, 3, 24, 20)
    mixture, canvas = one_hot(torch.tensor([2, 0, 1]), 3), grain(24, 20, 3)
    assert canvas.shape == (3, len(GRAIN), 24 // STRIDE, 20 // STRIDE)
    with torch.no_grad():
        whole = network(x, mixture, canvas)
        for i in range(3):
            one = network(x[i : i + 1], mixture[i : i + 1], canvas[i : i + 1])
            torch.testing.assert_close(one, whole[i : i + 1])


def test_grain_gives_flat_pictures_texture_that_stays_where_it_is(painter):
    flat = torch.full((1, 3, 32, 32), 0.5)
    found = painter(flat)
    assert float(found.std(dim=(2, 3)).mean()) > 1e-3
    assert torch.equal(found, painter(flat))
    assert torch.equal(fixed_grain(32, 32), fixed_grain(32, 32))


def test_no_chequered_upsampling():
    """Flat maps stay flat: nothing in the decoder tells even pixels from odd ones."""
    network = PLAN.build()
    x = torch.ones(1, 4, 8, 8)
    out = network.out(F.interpolate(x, scale_factor=2.0))
    assert float((out - out.mean((2, 3), keepdim=True)).detach().abs().max()) < 1e-6
    kinds = {type(module).__name__ for module in network.modules()}
    assert "ConvTranspose2d" not in kinds and "PixelShuffle" not in kinds
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    assert all(m.padding_mode != "zeros" for m in convolutions)  # no frame around paintings


def test_no_lines_along_borders():
    """On the mean of all styles, the outermost step is none that the eye would stop at."""
    painter = load()
    torch.manual_seed(0)
    picture = F.interpolate(torch.rand(1, 3, 12, 12), size=(128, 128), mode="bicubic").clamp(0, 1)
    steps = []
    for name in painter.styles:
        painted = painter.painted(picture, painter.mixture({name: 1.0}))[0]
        for across in (painted, painted.transpose(1, 2)):
            step = across.diff(dim=2).abs().mean((0, 1))
            steps.append(step / step.mean())
    mean = torch.stack(steps).mean(0)
    assert mean[0] < 1.2 and mean[-1] < 1.2  # 1.9 and 1.7 where all paddings are mirrored


def test_the_plan_that_ships_is_small_enough(tmp_path):
    plan = Plan(tuple(f"style{n}" for n in range(12)), 48, 16, 4)
    Painter(plan.build(), plan, {}).save(tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").stat().st_size < 500_000


# pictures and styles


def test_pictures_of_every_form(painter, tmp_path):
    array = pixels()
    first = painter(array, "the_scream")
    assert first.shape == (1, 3, 40, 36)
    write_image(tmp_path / "a.png", array)
    for form in (unit(array), unit(array)[0], array[None], [array], tmp_path / "a.png",
                 str(tmp_path / "a.png"), [unit(array)]):  # fmt: skip
        torch.testing.assert_close(painter(form, "the_scream"), first)
    assert painter([array, array]).shape == (2, 3, 40, 36)
    grey = array[..., 0]
    repeated = np.repeat(grey[..., None], 3, 2)
    torch.testing.assert_close(painter(grey), painter(repeated))
    different = painter([array, pixels(20, 24)])
    assert [one.shape for one in different] == [(3, 40, 36), (3, 20, 24)]


def test_paint_is_the_same_in_bytes(painter):
    array = pixels()
    mixture = painter.mixture("great_wave")
    expected = (painter(array, "great_wave")[0] * 255).round().byte().permute(1, 2, 0).numpy()
    found = painter.paint(array, mixture)
    assert found.dtype == np.uint8 and np.array_equal(found, expected)
    reversed_twice = array[::-1].copy()[::-1]
    assert np.array_equal(painter.paint(reversed_twice, mixture), expected)
    array.flags.writeable = False
    assert np.array_equal(painter.paint(array, mixture), expected)


def test_styles_by_name_by_names_and_by_weights(painter):
    assert painter.styles == PLAN.styles
    assert painter.mixture(None).tolist() == [[1, 0, 0]]
    assert painter.mixture("great_wave").tolist() == [[0, 1, 0]]
    assert painter.mixture(["great_wave", "the_scream"]).tolist() == [[0, 0.5, 0.5]]
    blend = painter.mixture({"starry_night": 3, "the_scream": 1})
    assert blend.tolist() == [[0.75, 0, 0.25]]
    array = pixels()
    ends = [painter(array, name) for name in ("starry_night", "the_scream")]
    middle = painter(array, {"starry_night": 0.5, "the_scream": 0.5})
    apart = [float((middle - end).abs().mean()) for end in ends]
    assert min(apart) > 1e-3
    nearly = painter(array, {"starry_night": 1e6, "the_scream": 1})
    torch.testing.assert_close(nearly, ends[0], atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("style_", "sentence"),
    [
        ("stary_night", r"no style 'stary_night'\. Did you mean 'starry_night'\? It has starry"),
        ({"great_wave": 0}, "weight of 'great_wave' must be above 0"),
        ({"great_wave": math.nan}, "must be above 0"),
        ([], "Name a style"),
    ],
)
def test_styles_that_it_cannot_paint_in(painter, style_, sentence):
    with pytest.raises(UserError, match=sentence):
        painter(pixels(), style_)


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (pixels(15, 40), "40x15 pixels is too small"),
        ([], "no picture to paint"),
        ("none.png", "no picture none.png"),
        (np.zeros((3, 3, 3, 3, 3), np.uint8), "Pictures are"),
        (torch.rand(1, 3, 20, 20) * 255, r"lie in \[0, 1\]"),
    ],
)
def test_what_it_cannot_paint(painter, images, sentence):
    with pytest.raises(UserError, match=sentence):
        painter(images)


def test_too_little_memory_is_said_with_the_size_to_try(painter, monkeypatch):
    monkeypatch.setattr(painters.device, "available_memory", lambda where: 10**8)
    with pytest.raises(UserError, match=r"1200x900 pixels takes 0.5 GB.*try --size \d+0\."):
        painter(torch.zeros(1, 3, 900, 1200))


def test_a_filter_paints_frames_and_keeps_what_is_known_of_them(painter):
    frame = Frame(pixels(), "words", {"score": 3}, (Box("ball", 1, 2, 3, 4),))
    before = frame.pixels.copy()
    found = painter.filter("great_wave")(frame)
    assert np.array_equal(found.pixels, painter.paint(before, painter.mixture("great_wave")))
    assert (found.text, found.facts, found.boxes) == (frame.text, frame.facts, frame.boxes)
    assert np.array_equal(frame.pixels, before)


# files


def test_a_file_paints_the_same(painter, tmp_path):
    path = tmp_path / "a.safetensors"
    painter.save(path)
    found = load(path)
    assert found.styles == painter.styles and found.card == CARD and found.plan == PLAN
    difference = (found(pixels()) - painter(pixels())).abs().max()
    assert 0 < difference < 0.02  # half precision
    assert found.credits[1] == Credit("great_wave", "The Great Wave", "", "1831")
    assert str(found.credits[1]).split() == ["great_wave", *["The", "Great", "Wave,", "1831"]]


@pytest.mark.parametrize(("kept", "asked"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_a_style_is_known_however_its_accents_are_written(tmp_path, kept, asked):
    name = unicodedata.normalize(kept, "étoile")
    painter = made(replace(PLAN, styles=("great_wave", name, "the_scream")))
    painter.card["styles"] = {name: {"title": "Nuit"}}
    painter.save(tmp_path / "a.safetensors")
    found = load(tmp_path / "a.safetensors")
    for style_ in ("étoile", unicodedata.normalize(asked, "étoile")):
        assert found.mixture(style_).tolist() == [[0, 1, 0]]
    assert found.credits[1].title == "Nuit"


def test_of_a_run_and_of_the_zoo(painter, tmp_path, monkeypatch):
    run = Run.create(tmp_path / "runs", "style", "a", {})
    painter.save(run.path / "best.safetensors")
    assert load(run.path).styles == PLAN.styles
    monkeypatch.setattr(painters, "ZOO", tmp_path / "zoo")
    (tmp_path / "zoo").mkdir()
    with pytest.raises(UserError, match=r"No painter ships .* train one"):
        style.load()
    save_file({"x": torch.zeros(1)}, tmp_path / "zoo" / "dreamer.safetensors")
    painter.save(tmp_path / "zoo" / "painter.safetensors")
    assert style.load().styles == load("zoo:painter").styles == PLAN.styles
    card = load("zoo:painter").card
    assert card["styles"]["great_wave"]["year"] == "1831" and card["updates"] == 7
    with pytest.raises(UserError, match="zoo has no painter 'paint'"):
        load("zoo:paint")
    other = Run.create(tmp_path / "runs", "dcgan", "b", {})
    with pytest.raises(UserError, match="a run of dcgan, not of style"):
        load(other.path)


def test_broken_files_are_refused(painter, tmp_path):
    good = tmp_path / "good.safetensors"
    painter.save(good)
    tensors = load_file(good)

    def refused(sentence, tensors=tensors, **about):
        path = tmp_path / "bad.safetensors"
        full = {"format": 1, "plan": asdict(PLAN), "card": {}} | about
        save_file(tensors, path, {KEY: json.dumps(full)})
        with pytest.raises(UserError, match=sentence):
            load(path)

    refused("format 2: update", format=2)
    refused("does not fit", plan={**asdict(PLAN), "width": 16})
    refused("does not fit", plan={**asdict(PLAN), "styles": ["a"]})
    refused("name no network", plan={"width": 8})
    refused("name no network", plan={**asdict(PLAN), "styles": 3})
    refused("name no network", plan={**asdict(PLAN), "width": -1})
    refused("no finite numbers", {**tensors, "out.bias": torch.full((3,), math.nan)})
    Path(tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(UserError, match="not a readable safetensors"):
        load(tmp_path / "text.safetensors")
    with pytest.raises(UserError, match="no file or run"):
        load(tmp_path / "none")


# films


def test_held_statistics_are_those_of_the_first_picture(painter):
    mixture = painter.mixture("great_wave")
    first, second = unit(pixels(32, 40)), unit(pixels(32, 40, 1) // 2)
    held = Held()
    assert torch.allclose(painter.painted(first, mixture, held), painter.painted(first, mixture))
    alone = painter.painted(second, mixture)
    assert float((painter.painted(second, mixture, held) - alone).abs().mean()) > 1e-3
    held.share = 1.0  # its own enter wholly
    assert torch.allclose(painter.painted(second, mixture, held), alone, atol=2e-3)


def test_rows_hold_statistics_of_their_own(painter):
    mixtures = torch.cat([painter.mixture(name) for name in PLAN.styles[:2]])
    pictures = torch.cat([unit(pixels(32, 40, seed)) for seed in range(2)])
    canvas = fixed_grain(32, 40)
    with torch.no_grad():
        together = painter.network(pictures, mixtures, canvas, Held())
        for i in range(2):
            one = painter.network(pictures[i : i + 1], mixtures[i : i + 1], canvas, Held())
            assert torch.allclose(together[i], one[0], atol=1e-5)


def test_what_stays_the_same_in_a_film_stays_painted_so(painter):
    before = pixels(96, 120)
    after = before.copy()
    after[:8, :8] = 255 - after[:8, :8]
    mixture = painter.mixture("great_wave")
    film = Film(painter, mixture)
    one, two = film.paint(before), film.paint(after)
    far = np.s_[64:, 80:]  # the small network sees no 60 pixels
    assert np.array_equal(one, painter.paint(before, mixture))
    assert np.array_equal(one[far], two[far])
    assert not np.array_equal(painter.paint(after, mixture)[far], one[far])
    for _ in range(400):  # in time the statistics are those of what is shown now
        two = film.paint(after)
    assert np.abs(two.astype(int) - painter.paint(after, mixture)).max() <= 2


def test_a_scene_after_a_dark_frame_begins_anew(painter):
    scene = np.zeros((40, 32, 3), np.uint8)
    scene[10:20] = 120  # a quarter: 30 of 255 on average
    mixture = painter.mixture("great_wave")
    film = Film(painter, mixture)
    film.paint(np.zeros_like(scene))
    assert np.array_equal(film.paint(scene), painter.paint(scene, mixture))


def test_paint_follows_at_once_where_something_moves_and_slowly_elsewhere():
    class Plain:
        """Paints the frames in one gray after another."""

        grays = iter((0, 10, 14, 14 + STROKE))

        def at_once(self, height, width):
            return 1

        def paint(self, frames, mixture, held):
            return np.full_like(frames, next(self.grays))

    film = Film(Plain(), torch.ones(1, 1), settling=0.5)
    first = np.zeros((20, 30, 3), np.uint8)
    second = first.copy()
    second[8:12, 10:14, 1] = MOVED
    shown = [film.paint(frame) for frame in (first, second, second, second)]
    moved = first[..., 1] != second[..., 1]
    assert (shown[0] == 0).all()
    assert (shown[1][moved] == 10).all() and (shown[1][~moved] == 5).all()
    assert (shown[2][moved] == 12).all()
    assert (shown[2][~moved] == round(5 + 0.5 * 9)).all()
    assert (shown[3] == 14 + STROKE).all()  # so much is no flicker


def test_small_differences_are_noise_and_are_smoothed(painter):
    clean = pixels(64, 64) // 2 + 64
    noise = np.random.default_rng(1).integers(-1, 2, (8, *clean.shape))
    frames = (clean + noise).astype(np.uint8)
    mixture = painter.mixture("great_wave")
    apart = []
    for settling in (1.0, 0.1):
        film = Film(painter, mixture, settling)
        shown = [film.paint(frame).astype(int) for frame in frames]
        apart.append(np.mean([np.abs(a - b).mean() for a, b in pairwise(shown)]))
    assert 3 * apart[1] < apart[0]


def test_a_cut_and_another_size_begin_anew(painter):
    mixture = painter.mixture("great_wave")
    film = Film(painter, mixture)
    film.paint(pixels(32, 40))
    for other in (255 - pixels(32, 40), pixels(40, 32)):
        assert np.array_equal(film.paint(other), painter.paint(other, mixture))
    several = np.stack([pixels(40, 32), pixels(40, 32)])
    assert film.paint(several).shape == several.shape


def test_frames_are_painted_together_up_to_a_cut_and_as_many_as_fit(painter, monkeypatch):
    mixture = painter.mixture("great_wave")
    scenes = [pixels(32, 40), 255 - pixels(32, 40)]
    frames = np.stack([scenes[0]] * 2 + [scenes[1]] * 3)
    monkeypatch.setattr(type(painter), "at_once", lambda self, height, width: 2)
    counts, paint = [], painter.paint

    def counted(some, *rest):
        counts.append(len(some))
        return paint(some, *rest)

    monkeypatch.setattr(painter, "paint", counted)
    shown = Film(painter, mixture).paint(frames)
    assert counts == [2, 2, 1]
    for scene, first in zip(scenes, (0, 2), strict=True):  # nothing of the scene before is held
        assert np.array_equal(shown[first], paint(scene[None], mixture)[0])


def test_a_gpus_memory_limits_how_many_are_painted_together(painter, monkeypatch):
    assert painter.at_once(1080, 1920) == painter.batch == 1  # of a CPU
    monkeypatch.setattr(type(painter), "batch", 16)
    for free, wanted in ((None, 16), (2**36, 16), (5 * 10**9, 4), (10**6, 1)):
        monkeypatch.setattr("playground.device.available_memory", lambda where, free=free: free)
        assert painter.at_once(1080, 1920) == wanted


def test_softened_maps_have_no_grid_left():
    rows, columns = torch.meshgrid(torch.arange(6), torch.arange(9), indexing="ij")
    for board in ((-1.0) ** (rows + columns), (-1.0) ** rows, (-1.0) ** columns):
        inside = softened(board.expand(1, 2, 6, 9))[..., 1:-1, 1:-1]
        assert inside.shape == (1, 2, 4, 7) and float(inside.abs().max()) < 1e-6
    ramp = columns.float().expand(1, 1, 6, 9)
    assert torch.allclose(softened(ramp)[..., 1:-1], ramp[..., 1:-1])  # slopes stay
    dot = torch.zeros(1, 1, 5, 5)
    dot[0, 0, 2, 2] = 16
    expected = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]])
    assert torch.equal(softened(dot)[0, 0, 1:4, 1:4], expected)
