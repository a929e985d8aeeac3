"""Painting as a whole: settings, scales, several styles, masks, colours, tiles, and mistakes."""

import errno
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from generators import style, style_easel
from generators.style import BEST, GATYS2015, PRESETS, paint, stylize
from generators.style_easel import Easel, find_backbone, fitting, scales
from generators.style_losses import StyleNetwork
from generators.style_painting import Painting, brightness, recolored
from playground import device
from playground.backbone import create
from playground.errors import UserError
from playground.media import write_image
from playground.run import Run

QUICK = {"backbone": "tiny", "size": 48, "coarsest": None, "iterations": 3, "shrink": 1.0}


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """A small random VGG in the place of networks with weights: random ones see style, too."""

    def found(name, weights, say):
        if name != "tiny":
            return find_backbone(name, weights, say)
        torch.manual_seed(0)
        return name, create("deepconv", width=0.5)

    monkeypatch.setattr(style, "find_backbone", found)


def photo(height=48, width=64, seed=0):
    """Smooth, so that it is a picture and no noise: uint8 (H, W, 3)."""
    small = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    large = F.interpolate(small, (height, width), mode="bicubic").clamp(0, 1)
    return (large[0] * 255).byte().permute(1, 2, 0).numpy()


def unit(pixels):
    return torch.from_numpy(pixels).permute(2, 0, 1) / 255


def painted(content=None, paintings=None, **settings):
    content = photo() if content is None else content
    paintings = photo(seed=1) if paintings is None else paintings
    return stylize(content, paintings, **{**QUICK, **settings})


def test_stylize_gives_a_picture_of_the_size_asked_for():
    for size, shape in ((48, (3, 36, 48)), (80, (3, 60, 80)), (None, (3, 48, 64))):
        found = painted(size=size)
        assert found.shape == shape and found.dtype == torch.float32
        assert found.min() >= 0 and found.max() <= 1


def test_pictures_of_every_form_give_the_same_painting(tmp_path):
    write_image(tmp_path / "a.png", photo())
    first = painted()
    same = [str(tmp_path / "a.png"), tmp_path / "a.png", unit(photo()), unit(photo())[None]]
    for form in same:
        assert torch.equal(painted(form), first)
    grey = photo()[..., 0]
    repeated = np.repeat(grey[..., None], 3, 2)
    assert torch.allclose(painted(grey), painted(repeated), atol=1e-5)


def test_same_seed_same_painting_and_no_trace_in_the_random_generators():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, two = (painted(start="noise", seed=3) for _ in range(2))
    assert torch.equal(one, two) and torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(one, painted(start="noise", seed=4))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_picture_painted_towards_itself_stays_itself(preset):
    same = photo(64, 64)
    found = stylize(same, same, preset=preset, **{**QUICK, "size": 64, "start": "content"})
    assert (found - unit(same)).abs().max() < 0.02


@pytest.mark.parametrize("preset", PRESETS)
def test_painting_lowers_the_style_loss(preset):
    """From the content on: the first figures against the last."""
    seen = []
    config = replace(PRESETS[preset], **{**QUICK, "iterations": 25, "start": "content"})
    found = paint(
        photo(), photo(seed=1), config=config,
        watch=lambda task: seen.append(float(task.figures["style"])),
    )  # fmt: skip
    assert len(seen) == found.iterations == 25 and found.reason == "done"
    assert found.figures["style"] < 0.6 * seen[0]


def test_from_coarse_to_fine_by_the_root_of_two():
    assert scales(600, 800, 512, 128) == [(96, 128), (136, 181), (192, 256), (272, 362), (384, 512)]
    assert scales(600, 800, None, None) == [(600, 800)]
    assert scales(48, 480, 480, 64) == [(48, 480)]  # no scale is narrower than is seen in it
    sizes = []
    config = replace(BEST, **{**QUICK, "size": 128, "coarsest": 64})
    found = paint(
        photo(), photo(seed=1), config=config,
        watch=lambda task: sizes.append(tuple(task.picture.shape[2:])),
    )  # fmt: skip
    assert sizes == [(48, 64)] * 3 + [(68, 91)] * 3 + [(96, 128)] * 3 and found.iterations == 9
    assert found.picture.shape == (3, 96, 128)


def easel(config, styles=1, masks=(), weights=None):
    torch.manual_seed(0)
    network = StyleNetwork(create("deepconv", width=0.5))
    pictures = [unit(photo(seed=n + 1))[None] for n in range(styles)]
    weights = weights or [1.0] * styles
    return Easel(network, unit(photo())[None], pictures, weights, masks, config)


def test_adams_moments_go_on_at_the_next_scale():
    config = replace(BEST, **QUICK)
    ready = easel(config)
    coarse = ready.task((48, 64), None, None)
    optimizer = coarse.optimizers["picture"]
    for _ in range(2):
        coarse.objective(coarse.picture)["loss"].backward()
        optimizer.step()
    fine = ready.task((96, 128), coarse, None)
    before = optimizer.state[coarse.picture]
    after = fine.optimizers["picture"].state[fine.picture]
    assert float(after["step"]) == 2 and after["exp_avg"].shape == fine.picture.shape
    for key in ("exp_avg", "exp_avg_sq"):
        larger = F.interpolate(before[key], (96, 128), mode="bilinear")
        assert torch.equal(after[key], larger)
    assert fine.progress == coarse.progress


def test_a_finer_scale_begins_with_the_contents_detail():
    """An unchanged coarse picture leads to the content itself, a changed one keeps its change."""
    ready = easel(replace(BEST, **QUICK))
    coarse = ready.task((24, 32), None, None)
    fine = ready.task((48, 64), coarse, None)
    assert torch.allclose(fine.picture, ready.content, atol=1e-3)
    with torch.no_grad():
        coarse.picture.mul_(0.5)
    changed = ready.task((48, 64), coarse, None).picture
    assert float(changed.detach().mean()) == pytest.approx(
        0.5 * float(ready.content.mean()), rel=0.05
    )


def test_styles_are_weighed():
    """With all of the weight on one, the other is as good as not there."""
    one, two = photo(seed=1), photo(seed=2)
    alone = painted(paintings=one)
    mixed = painted(paintings=[one, two], style_weights=[1, 1e-9])
    half = painted(paintings=[one, two])
    # Not equal: the network's scales are measured on all of the pictures.
    assert (alone - mixed).abs().mean() < 0.3 * (alone - half).abs().mean()


def test_each_style_stays_where_its_mask_is_white():
    """A dark and a bright style, left and right: so does the painting become."""
    dark, bright = photo(seed=1) // 4, 192 + photo(seed=2) // 4
    left = np.zeros((48, 64), np.uint8)
    left[:, :32] = 255
    flat = np.full((48, 64, 3), 128, np.uint8)
    found = painted(
        flat, [dark, bright], masks=[left, 255 - left], content_weight=0.0, iterations=40
    )
    half = found.shape[2] // 2
    left_mean, right_mean = found[..., : half - 8].mean(), found[..., half + 8 :].mean()
    assert left_mean < 0.48 and right_mean > 0.52  # both begin at 0.502


def test_shares_of_masks_follow_their_areas_and_weights():
    left = torch.zeros(1, 1, 8, 8)
    left[..., :2] = 1
    ready = easel(replace(BEST, **QUICK), 2, [left, 1 - left], [1.0, 3.0])
    shares = [region.share for region in ready._regions((48, 64))]
    assert shares == pytest.approx([0.25 * 0.5, 0.75 * 1.5], rel=0.05)


def test_kept_colors_are_the_contents():
    colors, grey = unit(photo())[None], torch.rand(1, 1, 48, 64)
    back = recolored(grey, colors)
    assert torch.allclose(brightness(back), grey, atol=1e-5)
    # I and Q of YIQ, the rest of the matrix.
    chroma = torch.tensor([[0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
    before, after = (torch.einsum("ic,bchw->bihw", chroma, x) for x in (colors, back))
    assert torch.allclose(before, after, atol=1e-4)
    content = photo(36, 48) // 2 + 64
    found = painted(content, size=48, keep_colors=True)
    inside = (found > 0.01) & (found < 0.99)
    change = found - unit(content)
    even = inside.all(0)
    assert even.float().mean() > 0.5
    assert (change[0] - change[1])[even].abs().max() < 1e-4
    assert change.abs().max() > 0.005  # yet it was painted


def test_painting_in_tiles_is_painting_in_one_piece():
    config = {"size": 96, "iterations": 4}
    whole, tiled = painted(**config), painted(**config, tile=32)
    assert (whole - tiled).abs().max() < 0.05 and (whole - tiled).abs().mean() < 0.005


def test_noise_is_painted_too():
    found = painted(start="noise", iterations=1)
    assert found.std() > 0.2  # white noise still
    assert painted(start="content", iterations=1).std() < 0.35


def test_watching_can_end_it_with_the_picture_so_far():
    shown = []

    def watch(task):
        shown.append(task.shown())
        return len(shown) < 5

    config = replace(BEST, **{**QUICK, "size": 96, "coarsest": 64})
    found = paint(photo(), photo(seed=1), config=config, watch=watch)
    assert found.reason == "stopped" and found.iterations == 5
    assert found.picture.shape == shown[-1].shape


def test_seconds_are_shared_among_the_scales():
    sizes = []
    config = replace(BEST, **{**QUICK, "size": 96, "coarsest": 64, "seconds": 2.0})
    found = paint(
        photo(), photo(seed=1), config=config, watch=lambda task: sizes.append(task.picture.shape)
    )
    assert len(set(sizes)) == 2 and found.reason == "done"


def test_a_run_keeps_losses_and_the_picture(tmp_path):
    run = Run.create(tmp_path, "paint", "one", {})
    config = replace(BEST, **{**QUICK, "size": 96, "coarsest": 64})
    found = paint(photo(), photo(seed=1), config=config, run=run)
    lines = run.metrics()
    steps = [line["step"] for line in lines]
    assert steps == sorted(steps) and steps[-1] == found.iterations == 6
    assert {"style", "content", "variation"} <= lines[0].keys()
    assert len(list(run.gallery.glob("panel-*.png"))) == 2


def test_the_default_presets_are_what_they_are_called():
    assert (GATYS2015.statistics, GATYS2015.optimizer) == ("gram", "lbfgs")
    assert (GATYS2015.pooling, GATYS2015.start, GATYS2015.iterations) == ("average", "noise", 500)
    assert GATYS2015.coarsest is None and GATYS2015.average is None
    assert BEST.statistics == "wasserstein" and BEST.optimizer == "adam"


def test_lbfgs_evaluates_once_an_iteration_and_remembers():
    config = replace(GATYS2015, **{**QUICK, "start": "content"})
    ready = easel(config)
    task = ready.task((48, 64), None, None)
    calls = []
    objective = task.objective
    task.objective = type(
        "Counted", (), {"sights": 1, "__call__": lambda self, *a: calls.append(1) or objective(*a)}
    )()
    assert isinstance(task, Painting)

    class Plain:
        def minimize(self, loss, optimizer):
            def closure():
                optimizer.zero_grad()
                value = loss()
                value.backward()
                return value

            return optimizer.step(closure)

    for _ in range(4):
        task.step(Plain())
    assert len(calls) == 4
    assert len(task.optimizers["picture"].state[task.picture]["old_dirs"]) == 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"size": 3}, "--size starts at 16"),
        ({"iterations": 0}, "--iterations must be above 0"),
        ({"content_weight": -1.0}, "--content-weight must not be negative"),
        ({"average": 1.0}, "--average is a decay"),
        ({"statistics": "grams"}, "Did you mean 'gram'"),
        ({"preset": "gatys"}, "No preset 'gatys'.*gatys2015"),
        ({"learning_rates": 1.0}, "no setting 'learning_rates'.*learning_rate"),
        ({"style_layers": ("relu1_3",)}, "no layer 'relu1_3'.*relu1_2"),
        ({"backbone": "vgg91"}, "No backbone 'vgg91'.*vgg19"),
        ({"backbone": "nature"}, "needs --weights FILE"),
        ({"backbone": None, "weights": "a.pth"}, "--weights needs --backbone"),
        ({"style_weights": [1, 2]}, "There are 1 styles, but 2 weights"),
        ({"style_weights": [0]}, "must be above 0"),
        ({"masks": [photo()] * 2}, "1 styles, but 2 masks"),
        ({"masks": [np.zeros((48, 48), np.uint8)]}, "Mask 1 is black"),
        ({"device": "tpu"}, "--device is one of"),
    ],
)
def test_mistakes_are_told_in_one_sentence(settings, said):
    with pytest.raises(UserError, match=said) as caught:
        painted(**settings)
    assert "\n" not in str(caught.value)


def test_pictures_too_small_or_none_are_told(tmp_path):
    for wrong, said in (
        (photo(1, 1), "1x1 pixels: too few"),
        (photo(48, 2), "2x48 pixels: too few"),
        (tmp_path / "none.jpg", "There is no picture"),
        (np.zeros((48, 48, 4), np.uint8), "Pictures are uint8 arrays"),
        (torch.rand(2, 3, 48, 48), "must be one picture, not 2"),
    ):
        with pytest.raises(UserError, match=said):
            painted(content=wrong)
    with pytest.raises(UserError, match="1x1 pixels: too few"):
        painted(paintings=photo(1, 1))
    with pytest.raises(UserError, match="no style"):
        painted(paintings=[])


def test_too_little_memory_even_for_tiles_is_told_with_a_size_to_try(monkeypatch):
    monkeypatch.setattr(device, "available_memory", lambda where: 2 * 10**9)
    with pytest.raises(UserError, match=r"20000x15000 pixels takes .* GB.*--size (\d+)") as e:
        painted(size=20000)
    size = int(str(e.value).rstrip(".").rpartition(" ")[2])
    ready = easel(replace(BEST, **QUICK))
    fixed, each = ready.needed()
    height, width = fitting(48, 64, size)
    assert 1000 < size < 20000 and 0.9 < (fixed + height * width * each) / 2e9 < 1


def test_running_out_of_memory_is_told_with_a_size_to_try(monkeypatch):
    def fail(self, *some):
        raise MemoryError

    monkeypatch.setattr(Easel, "task", fail)
    with pytest.raises(UserError, match="Out of memory at 48x36 pixels: try --size 24"):
        painted()


def test_without_the_hub_the_best_that_is_here_paints(monkeypatch, tmp_path):
    said = []
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("playground.weights._download", offline)
    monkeypatch.setattr(style_easel, "ZOO", tmp_path)
    with pytest.raises(UserError, match="Or paint with other weights"):
        find_backbone(None, None, said.append)
    made = []
    (tmp_path / "arcade.safetensors").write_bytes(b"")
    create_before = style_easel.create

    def fake(name, weights=None):
        made.append((name, weights))
        return create_before(name, weights=weights if name == "vgg19" else None)

    monkeypatch.setattr(style_easel, "create", fake)
    name, _ = find_backbone(None, None, said.append)
    assert name == "arcade" and made[-1] == ("arcade", "arcade")
    assert len(said) == 1 and "Painting with arcade instead" in said[0]


def offline(source, path):
    raise OSError("no network")


def test_a_painting_that_nobody_keeps_needs_no_disk(monkeypatch):
    def refused(*some):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("playground.run.sync", refused)
    monkeypatch.setattr("playground.checkpoint._write", refused)
    monkeypatch.setattr("tempfile.mkdtemp", refused)
    assert painted(size=96, coarsest=64).shape == (3, 72, 96)
