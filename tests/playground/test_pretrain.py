"""Pretraining on a toy source: maps by hand, statistics, learning, saving, exporting."""

import math

import pytest
import torch
from torch import Tensor

from playground.backbone import create, to_unit
from playground.backbones.arcade import Arcade
from playground.errors import UserError
from playground.frames import Box
from playground.pretrain import (
    RAM,
    SCREEN,
    SLOTS,
    Pretrain,
    PretrainConfig,
    Scenes,
    Statistics,
    cover,
    hills,
    peaks,
    rate_at,
    vary,
)
from playground.run import Run
from playground.trainer import Trainer, TrainerConfig, seed_everything


class Squares:
    """Two games of a white square: one tells where it is, the other has it in its memory only."""

    games = ("seen", "unseen")

    def __init__(self, seed: int) -> None:
        self.random = torch.Generator().manual_seed(seed)

    def draw(self, count: int) -> Scenes:
        place = torch.randint(20, 140, (count, 2), generator=self.random)
        game = torch.arange(count) % 2
        pixels = torch.zeros(count, 3, *SCREEN, dtype=torch.uint8)
        ram = torch.zeros(count, RAM, dtype=torch.uint8)
        places = torch.full((count, SLOTS, 2), math.nan)
        known = torch.zeros(count, SLOTS, dtype=torch.bool)
        boxes: list[tuple[Box, ...]] = [()] * count
        for i, (x, y) in enumerate(place.tolist()):
            pixels[i, : 2 + int(game[i]), y - 4 : y + 4, x - 4 : x + 4] = 255
            ram[i, 7] = x
            if game[i] == 0:
                places[i, 0], known[i, 0] = torch.tensor([x - 0.5, y - 0.5]), True
                boxes[i] = (Box("player", x - 4, y - 4, 8, 8),)
        return Scenes(pixels, game, ram, places, known, boxes)


class Noise:
    """Pictures of two classes: dark and bright."""

    classes = ("dark", "bright")

    def __init__(self, count: int = 64) -> None:
        self.labels = torch.arange(count) % 2

    def read(self, indices: Tensor) -> Tensor:
        base = self.labels[indices] * 128
        shape = (len(indices), 3, 32, 32)
        return (torch.randint(0, 100, shape) + base[:, None, None, None]).to(torch.uint8)


def make(**settings: object) -> Pretrain:
    usual = {"updates": 40, "warmup": 5, "screens": 4, "photos": (4,), "held_out": 40}
    seed_everything(0)
    backbone = create("arcade", width=0.25)
    assert isinstance(backbone, Arcade)
    config = PretrainConfig(**{**usual, **settings})  # type: ignore[arg-type]
    return Pretrain(config, backbone, Squares(1), Squares(2), [Noise()], [Noise()])


def trainer_of(task: Pretrain, folder: object, **settings: object) -> Trainer:
    config = TrainerConfig(precision="fp32", **settings)  # type: ignore[arg-type]
    run = Run.create(folder, "arcade", "run", {})  # type: ignore[arg-type]
    return Trainer(config, task, run, say=lambda text: None)


def test_hills_stand_at_their_places_and_peaks_find_them():
    places = torch.tensor([[[43.0, 90.0], [math.nan, math.nan]]])
    maps = hills(places, 26, 20, 8, 6.0)
    assert maps.shape == (1, 2, 26, 20) and not maps[0, 1].any()
    # the cell whose centre is (5 * 8 + 3.5, 11 * 8 + 3.5), by hand
    assert maps[0, 0, 11, 5] == pytest.approx(math.exp(-(0.5**2 + 1.5**2) / 72))
    assert maps[0, 0].argmax() == 11 * 20 + 5
    assert (peaks(maps[:, :1], 8)[0, 0] - places[0, 0]).abs().max() < 0.5


def test_cover_is_the_share_of_a_cell_under_boxes():
    covered = cover([(Box("a", 4, 0, 8, 8), Box("b", 4, 0, 4, 4)), ()], 2, 3, 8)
    assert covered[0].tolist() == [[0.5 + 0.25, 0.5, 0], [0, 0, 0]]
    assert not covered[1].any()


def test_statistics_are_those_of_all_bytes_so_far():
    torch.manual_seed(0)
    statistics, ram = Statistics(2), torch.randint(0, 256, (50, RAM))
    ram[:, 3] = 9
    for part in ram.split(7):
        statistics.add(torch.ones(len(part), dtype=torch.long), part)
    assert torch.allclose(statistics.mean[1], ram.float().mean(0), atol=1e-3)
    values, varies = statistics.standardise(torch.ones(50, dtype=torch.long), ram)
    wanted = (ram.float() - ram.float().mean(0)) / ram.float().std(0, unbiased=False)
    assert torch.allclose(values[:, :3], wanted[:, :3].clamp(-3, 3), atol=1e-3)
    assert not varies[:, 3].any() and varies[:, 4:].all()
    assert not statistics.count[0]


def test_the_rate_rises_stays_and_falls():
    config = PretrainConfig(updates=1000, warmup=10, decay=0.3)
    assert [rate_at(n, config) for n in (0, 9, 500, 850, 1000)] == [0.1, 1.0, 1.0, 0.5, 0.0]


def test_varied_pictures_keep_shape_type_and_values():
    pictures = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8)
    varied = vary(pictures)
    assert varied.shape == pictures.shape and varied.dtype == torch.uint8
    flat = torch.full((2, 3, 32, 32), 77, dtype=torch.uint8)
    assert torch.equal(vary(flat), flat)


def test_it_learns_where_things_are_and_resumes(tmp_path):
    task = make()
    trainer = trainer_of(task, tmp_path, steps=40, checkpoint_every=30, log_every=10)
    outcome = trainer.fit()
    lines = [line for line in trainer.run.metrics() if "where_relu3_2" in line]
    assert lines[-1]["where_relu3_2"] < 0.5 * lines[0]["where_relu3_2"]
    assert lines[-1]["game"] < lines[0]["game"]
    assert outcome.score is not None and outcome.score > 0.5

    again = make()
    fresh = Trainer(TrainerConfig(precision="fp32", steps=41), again, Run.open(trainer.run.path))
    assert fresh.resume() == 40
    assert torch.equal(again.statistics.mean, task.statistics.mean)
    before = {k: v.clone() for k, v in again.backbone.state_dict().items()}
    assert all(torch.equal(v, before[k]) for k, v in task.backbone.state_dict().items())
    assert rate_at(40, again.config) == 0.0  # the schedule is over: nothing moves
    fresh.fit()
    assert again.progress == 41
    weights = dict(again.backbone.named_parameters())
    assert all(torch.equal(weight, before[name]) for name, weight in weights.items())


def test_the_exported_trunk_is_balanced_and_gives_the_same_map_but_for_a_factor(tmp_path):
    task = make(photos=(4,))
    task.export(tmp_path / "arcade.safetensors")
    loaded = create("arcade", width=0.25, weights=tmp_path / "arcade.safetensors")
    batches = [to_unit(Squares(3).draw(8).pixels), to_unit(Noise().read(torch.arange(8)))]
    with torch.no_grad():
        ours, theirs = task.backbone(batches[0]), loaded(batches[0])
        layers = [loaded.features(x) for x in batches]
    assert torch.allclose(ours * (theirs.sum() / ours.sum()), theirs, atol=0.02 * theirs.max())
    for name in (name for name in layers[0] if "relu" in name):
        assert 0.7 < sum(float(found[name].mean()) for found in layers) / 2 < 1.4


def test_frames_show_known_games_with_a_box_for_each_object():
    task = make()
    frames = list(task.frames())
    assert [frame.text for frame in frames] == ["seen"]
    assert frames[0].pixels.shape == (SCREEN[0], 2 * SCREEN[1], 3) and len(frames[0].boxes) == 1


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="2 numbers for 1 sets"):
        make(photos=(4, 4))
    with pytest.raises(UserError, match="updates"):
        PretrainConfig(updates=0).check()
