"""The task: it learns by heart, frozen and tuned, self-critically; what it saves and refuses."""

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from generators import caption_memory
from generators.caption import PRESETS, Captioning, for_clips
from generators.caption_judges import PHOTOS
from generators.caption_pairs import Named, Shown, Told
from generators.captioner import load
from playground.errors import UserError
from playground.run import Run
from playground.trainer import Trainer, TrainerConfig, seed_everything

COLOURS = {
    "red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 60, 220), "white": (240, 240, 240),
    "yellow": (220, 220, 30), "cyan": (30, 220, 220), "purple": (220, 30, 220), "grey": (120,) * 3,
}  # fmt: skip


class Squares:
    """Eight pictures or clips of a square: its colour, and on which side it is."""

    registers: tuple[str, ...] = ()

    def __init__(self, frames=1, count=8):
        self.frames, self.count = frames, count
        sides = ("left", "right") * 4
        self.about = list(zip(COLOURS, sides, strict=True))[:count]

    def __len__(self):
        return self.count

    def read(self, indices):
        pixels = np.full((len(indices), 3, 32, 32), 20, np.uint8)
        for picture, index in zip(pixels, indices.tolist(), strict=True):
            colour, side = self.about[index]
            at = 0 if side == "left" else 16
            picture[:, 4:28, at : at + 16] = np.array(COLOURS[colour])[:, None, None]
        x = torch.from_numpy(pixels)
        return x if self.frames == 1 else x[:, None].repeat(1, self.frames, 1, 1, 1)

    def shown(self, index):
        colour, side = self.about[index]
        left = 0.0 if side == "left" else 0.5
        return [Shown("square is", colour, (left, 0.125, left + 0.5, 0.875))]

    def references(self, index):
        colour, side = self.about[index]
        return [f"A {colour} square is on the {side}.", f"On the {side} is a {colour} square."]

    def told(self, index, register, rng):
        text = rng.choice(self.references(index))
        at, side = text.index("square"), self.about[index][1]
        left = 0.0 if side == "left" else 0.5
        return Told(text, [Named(at, at + 6, [(left, 0.125, left + 0.5, 0.875)])])

    def corpus(self):
        return [text for i in range(self.count) for text in self.references(i)] * 5


SMALL = replace(
    PRESETS["best"], data="squares", backbone="arcade", weights="arcade", layer="relu3_1",
    size=(32, 32), hidden=32, dropout=0.0, batch_size=8, sentences=2, warmup=5, samples=8,
    longest=12, smoothing=0.0, mirrored=False, learning_rate=5e-3, encoder_rate=2e-3,
    weight_decay=0.0, updates=60,
)  # fmt: skip


def made(config=SMALL, steps=None, pairs=None, judge=PHOTOS, **changes):
    torch.manual_seed(0)
    pairs = pairs or Squares(config.frames)
    return Captioning(replace(config, **changes), pairs, pairs, judge, steps)


def trained(task, tmp_path, steps, precision="fp32", **settings):
    run = Run.create(tmp_path, "caption", "one", {})
    config = TrainerConfig(steps=steps, precision=precision, threads=1, log_every=1, **settings)
    trainer = Trainer(config, task, run)
    trainer.fit()
    return run


@pytest.mark.parametrize("preset", PRESETS)
def test_eight_captions_are_learned_by_heart(tmp_path, preset):
    kind = PRESETS[preset]
    updates = 400 if preset == "nic" else 100
    changes = {"decoder": kind.decoder, "doubly": kind.doubly, "hidden": 128}
    task = made(**changes, encoder_rate=0.0, updates=updates, learning_rate=1e-2)
    run = trained(task, tmp_path, updates)
    one = load(run.path)
    pairs = task.pairs
    said = one.caption(pairs.read(torch.arange(8)).float() / 255, beam=2)
    right = sum(text in pairs.references(i) for i, text in enumerate(said))
    assert right == 8, said
    assert task.figures["bleu4"] > 99 and one.card["updates"] == updates
    lines = run.metrics()
    assert lines[-2]["loss"] < 0.2 * lines[0]["loss"]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize(("rate", "kept"), [(0.0, {"pairs", "held out"}), (1e-3, {"pairs"})])
def test_it_trains_and_is_judged_on_every_device(tmp_path, rate, kept, device):
    task = made(encoder_rate=rate, updates=4, critical=2, imitation=0.1)
    trained(task, tmp_path, 4, device=device, evaluate_every=2)
    assert task.figures["bleu1"] >= 0
    assert set(task._memories) == kept  # of a tuned encoder for the self-critical updates alone


def test_what_is_named_is_looked_at(tmp_path):
    without, with_ = (
        trained(
            made(grounding=weight, updates=40, encoder_rate=0.0), tmp_path / str(weight), 40
        ).metrics()
        for weight in (1e-6, 0.5)
    )
    shares = [[line["looked"] for line in run if "looked" in line][-1] for run in (without, with_)]
    assert shares[1] > 0.8 and shares[1] > shares[0] + 0.2


class Weighed:
    """In a trainer's place: keeps an update's loss instead of minimising it."""

    device = torch.device("cpu")
    fabric = SimpleNamespace(autocast=nullcontext)

    def minimize(self, loss_fn, optimizer):
        self.loss = loss_fn()

    def mean(self, value):
        return value

    def restart_averages(self, optimizer):
        pass


def loss_of(task):
    """(its next update's loss, its figures)."""
    trainer = Weighed()
    torch.manual_seed(0)
    figures = task.step(trainer)
    task.close()
    return trainer.loss, figures


def test_the_auxiliary_loss_teaches_the_encoder():
    with_, known = loss_of(taught := made(auxiliary=2.0))
    without, plain = loss_of(other := made())
    assert "known" in known and "known" not in plain
    assert torch.allclose(known["loss"], plain["loss"])
    assert 1 < (with_ - without).item() / 2 < 3  # eight colours, not learned yet: log 8 is 2.1
    own = [
        torch.autograd.grad(loss, next(task.parts.encoder.parameters()))[0]
        for loss, task in ((with_, taught), (without, other))
    ]
    assert not torch.allclose(*own, rtol=0.1)
    frozen, known = loss_of(made(auxiliary=2.0, frozen=5))
    assert "known" not in known and torch.allclose(frozen, without)


def test_encoders_may_learn_what_things_do_before_anything_is_said(tmp_path):
    task = made(auxiliary=2.0, auxiliary_first=30 / 32, updates=32, warmup=1, encoder_rate=1e-3)
    first = {name: value.clone() for name, value in task.parts.decoder.state_dict().items()}
    run = trained(task, tmp_path, 30)
    assert all(torch.equal(first[n], value) for n, value in task.parts.decoder.state_dict().items())
    assert task.figures["score"] == 0 and task.seen is None and not list(task.frames())
    known = [line["known"] for line in run.metrics() if "known" in line]
    assert known[-1] > known[0] and all("loss" not in line for line in run.metrics())
    assert (task._decoder_rate(29), task._decoder_rate(30)) == (pytest.approx(0.02, abs=0.03), 0.5)
    _, figures = loss_of(task)
    assert "loss" in figures and "known" in figures


def test_words_that_state_facts_weigh_more():
    class Stating(Squares):
        def told(self, index, register, rng):
            told = super().told(index, register, rng)
            side = told.text.index(self.about[index][1])
            return Told(told.text, [Named(side, side + 4, [], answers=True)])  # lef, righ: words

    (plain, figures), (same, _) = (loss_of(made(pairs=Stating(), stress=s)) for s in (1.0, 1.0))
    heavy, figures_heavy = loss_of(made(pairs=Stating(), stress=1000.0))
    assert torch.equal(plain, same) and torch.allclose(plain, figures["loss"])
    assert torch.allclose(figures_heavy["loss"], figures["loss"])  # as it is without
    assert not torch.allclose(heavy, plain)
    task = made(pairs=Stating(), stress=3.0)
    read = task._read(0)[0]
    weights = task._weights(read)
    task.close()
    words = (read.words[:, 1:] != 0).flatten()
    assert len(read.answers) == 16 and torch.allclose(weights.sum(), torch.tensor(1.0))
    light = words.clone()
    light[read.answers] = False
    assert (
        torch.allclose(weights[read.answers], 3 * weights[light][0]) and not weights[~words].any()
    )


def test_too_few_pictures_to_ask_anything_are_learned_without_questions():
    task = made(pairs=Squares(count=1), auxiliary=1.0, auxiliary_first=0.5)
    assert task.auxiliary is None and task.silent == 0
    task.close()


def test_it_is_told_how_much_is_known_of_held_out_pictures(tmp_path):
    task = made(auxiliary=2.0, updates=40)
    trained(task, tmp_path, 40)
    assert 50 < task.figures["known"] <= 100  # of eight colours
    assert "known" not in made().figures


def test_imitation_goes_on_beside_rewards():
    found = {}
    for weight in (0.0, 0.5):
        task = made(critical=20, imitation=weight, grounding=0.2)
        task.progress = 40  # the first self-critical update
        found[weight] = loss_of(task)
    assert "loss" not in found[0.0][1]
    figures = found[0.5][1]
    whole = figures["loss"] - 0.2 * figures["looked"].log()  # one word, or nearly so
    gained = found[0.5][0] - found[0.0][0]
    assert torch.allclose(gained, 0.5 * whole, rtol=0.1)


def test_a_frozen_encoder_is_looked_through_once_and_then_tuned(tmp_path, monkeypatch):
    task = made(frozen=20, updates=30, mirrored=True)
    before = {k: v.clone() for k, v in task.parts.encoder.state_dict().items()}
    reads = []
    own = task.pairs.read
    monkeypatch.setattr(task.pairs, "read", lambda i: (reads.append(len(i)), own(i))[1])
    run = Run.create(tmp_path, "caption", "one", {})
    trainer = Trainer(TrainerConfig(steps=30, precision="fp32", threads=1), task, run)
    while task.progress < 20:
        task.step(trainer)
    assert all(torch.equal(v, before[k]) for k, v in task.parts.encoder.state_dict().items())
    memories = task._memories["pairs"]
    mirrored = memories.get(torch.tensor([0]), torch.tensor([True]))
    wanted = task.parts.encoder(task.pairs.read(torch.tensor([0])).float().div(255).flip(-1))
    assert torch.allclose(mirrored, wanted, atol=1e-2, rtol=1e-2)
    task.step(trainer)
    after = task.parts.encoder.state_dict()
    assert not torch.equal(after["backbone.conv1_1.weight"], before["backbone.conv1_1.weight"])
    assert not task._memories
    task.close()


def test_a_frozen_encoder_is_looked_through_in_half_precision(tmp_path):
    """At any layer: none named is the last."""
    task = made(encoder_rate=0.0, layer=None, updates=20, learning_rate=1e-2)
    assert task.parts.encoder.layer == list(task.parts.encoder.backbone.channels)[-1]
    lines = trained(task, tmp_path, 20, precision="bf16").metrics()
    assert lines[-2]["loss"] < 0.7 * lines[0]["loss"]


def test_batch_norms_of_an_encoder_keep_their_statistics(tmp_path):
    norms = {"backbone": "mobilenet_v2", "layer": "block2_1", "weights": None}
    for rate in (0.0, 1e-3):
        task = made(updates=3, encoder_rate=rate, **norms)
        encoder = task.parts.encoder
        before = {k: v.clone() for k, v in encoder.state_dict().items() if "running" in k}
        seen = encoder(task.pairs.read(torch.arange(8)).float() / 255)
        trained(task, tmp_path / str(rate), 3)
        after = encoder.state_dict()
        assert before and all(torch.equal(after[k], v) for k, v in before.items())
        assert not encoder.training and task.training
        if not rate:  # what was learned from is what is seen later
            kept = task._memories["pairs"].get(torch.arange(8), torch.zeros(8, dtype=torch.bool))
            assert torch.allclose(kept, seen, atol=1e-2, rtol=1e-2)


def test_of_held_out_pictures_those_that_are_judged_are_kept(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("generators.caption.fits", lambda numbers: asked.append(numbers) or True)
    task = made(encoder_rate=0.0, updates=2, samples=3)
    trained(task, tmp_path, 2)
    memories = task._memories["held out"]
    assert len(memories._kept) == 3 and len(task._memories["pairs"]._kept) == 8
    assert asked == [sum(m._kept.numel() for m in task._memories.values())]
    indices = task._judged()
    wanted = task.parts.encoder.maps(task.held_out.read(indices).float() / 255)
    assert torch.allclose(memories.maps(indices), wanted, atol=1e-2, rtol=1e-2)


def test_memory_that_does_not_fit_is_said_and_done_without(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(caption_memory, "available_memory", lambda: 1000)
    task = made(encoder_rate=0.0, updates=3)
    trained(task, tmp_path, 3)
    assert "computed anew" in capsys.readouterr().err and not task._memories


def test_rewards_of_all_registers_weigh_alike():
    class Spoken(Squares):
        registers = ("describe", "comment")

    def paid(pairs, vocabulary):
        def rewards(words, indices, register):
            found = (words[:, 0] % 5).float()
            return 27 * found if register == "comment" else found

        return rewards

    task = made(pairs=Spoken(), judge=PHOTOS._replace(critic=paid), critical=20, sentences=8)
    task.progress, trainer = 40, Weighed()
    sizes = []
    for _ in range(6):  # the weights stay, so that both draw alike
        torch.manual_seed(3)
        figures = task.step(trainer)
        sizes.append(abs(trainer.loss.item()))
    task.close()
    assert "reward_comment" in figures and "reward_describe" not in figures
    assert task.sizes["comment"] == pytest.approx(27**2 * task.sizes["describe"], rel=0.3)
    assert 0.3 < sizes[0] / sizes[1] < 3 and 0.3 < sizes[4] / sizes[5] < 3
    assert task.state()["sizes"] == task.sizes


def test_averages_begin_anew_with_rewards(tmp_path):
    task = made(critical=2, updates=40, encoder_rate=0.0)
    run = Run.create(tmp_path, "caption", "one", {})
    config = TrainerConfig(steps=40, precision="bf16", threads=1, ema=0.999)
    trainer = Trainer(config, task, run)

    def apart():
        averages = trainer.updates.ema.items()
        return sum((a - task.get_parameter(name)).norm().item() for name, a in averages)

    for _ in range(38):
        task.step(trainer)
    before = apart()
    task.step(trainer)
    assert apart() < before / 3
    task.close()


def test_self_critical_updates_make_likelier_what_is_rewarded(tmp_path):
    def fond(pairs, vocabulary):
        """Of captions that begin with "on"."""
        assert len(pairs) == 8

        def rewards(words, indices, register):
            assert register is None
            return (words[:, 0] == vocabulary.index["on"]).float()

        return rewards

    judge = PHOTOS._replace(critic=fond)
    changes = {"updates": 50, "critical": 25, "critical_rate": 1e-3, "sentences": 4}
    task = made(judge=judge, encoder_rate=0.0, **changes)
    run = trained(task, tmp_path, 50)
    lines = [line for line in run.metrics() if "reward" in line]
    assert len(lines) == 25 and "loss" not in lines[0]
    assert lines[0]["rate"] == pytest.approx(1e-3)
    rewards = [line["reward"] for line in lines]
    assert np.mean(rewards[-5:]) > 1.5 * np.mean(rewards[:5])


def test_clips_have_registers_and_digits(tmp_path):
    class Spoken(Squares):
        registers = ("describe", "comment")

        def told(self, index, register, rng):
            text = self.references(index)[register == "comment"]
            return Told(f"{text} 120 points.")

        def corpus(self):
            return [f"{text} 120 points." for text in super().corpus()]

    config = replace(
        for_clips(SMALL), size=(32, 32), layer="relu3_1", hidden=64, batch_size=8, updates=70,
        warmup=5, samples=8, learning_rate=5e-3, encoder_rate=1e-4,
    )  # fmt: skip
    judge = PHOTOS._replace(figures=lambda pairs, indices, said: {"score": len(said)})
    task = made(config, pairs=Spoken(4), judge=judge)
    run = trained(task, tmp_path, 70)
    one = load(run.path)
    x = task.pairs.read(torch.arange(8)).float() / 255
    for register, place in (("describe", 0), ("comment", 1)):
        wanted = [f"{task.pairs.references(i)[place]} 120 points." for i in range(8)]
        assert one.caption(x, register) == wanted


def test_going_on_is_exact(tmp_path):
    def run_of(name, *steps):
        seed_everything(3)
        run = Run.create(tmp_path, "caption", name, {})
        for number, count in enumerate(steps):
            torch.manual_seed(0)
            task = made(
                steps=6, critical=2, updates=6, auxiliary=0.5, auxiliary_first=0.5, imitation=0.3,
                weight_decay=0.1, stress=2.0,
            )  # fmt: skip
            settings = TrainerConfig(steps=count, precision="fp32", threads=1, log_every=1)
            trainer = Trainer(settings, task, run)
            if number:
                trainer.resume()
            trainer.fit()
            task.close()
            run = Run.open(run.path)
        figures = ("step", "loss", "known", "reward")
        return task.state_dict(), [[line.get(k) for k in figures] for line in run.metrics()]

    whole, parts = run_of("whole", 6), run_of("parts", 3, 5, 6)
    assert all(torch.equal(whole[0][k], parts[0][k]) for k in whole[0])
    ours, theirs = ([line for line in lines if line[1] or line[2]] for _, lines in (parts, whole))
    assert ours == theirs  # two updates of the encoder alone, two of sentences, two of rewards
    assert [line[1] is not None for line in ours] == [False] * 2 + [True] * 4
    assert [line[3] is not None for line in ours] == [False] * 4 + [True] * 2


def test_a_trained_captioner_learns_on(tmp_path):
    run = trained(made(updates=80), tmp_path, 80)
    source = str(run.path / "last.safetensors")
    task = made(pairs=Squares(count=6), start=source, updates=2, learning_rate=1e-5)
    one = load(source)
    assert task.vocabulary.words == one.vocabulary.words  # those of all eight
    x = task.pairs.read(torch.arange(6)).float() / 255
    task.eval()
    assert task.captioner().caption(x) == one.caption(x)
    went_on = trained(task, tmp_path / "on", 2).metrics()
    assert went_on[0]["loss"] < 0.3 * run.metrics()[0]["loss"]
    with pytest.raises(UserError, match="has another hidden"):
        made(start=source, hidden=64)


@pytest.mark.parametrize("decoder", ["transformer", "nic", "attend"])
def test_words_that_the_first_captioner_lacks_are_learned(decoder, tmp_path):
    """They come behind its own, which mean what they meant, and so what it says is as before."""
    first = made(pairs=Squares(count=6), decoder=decoder, updates=3)
    source = str(trained(first, tmp_path, 3).path / "last.safetensors")
    task, one = made(start=source, decoder=decoder, updates=2), load(source)
    words = task.vocabulary.words
    assert words[: len(one.vocabulary)] == one.vocabulary.words
    assert set(words) == set(made(decoder=decoder).vocabulary.words) > set(one.vocabulary.words)
    memory, said = torch.rand(2, 9, task.parts.encoder.features), torch.tensor([[1, 5], [1, 6]])
    task.eval()
    ours, _ = task.parts.decoder(memory, said)
    theirs, _ = one.parts.decoder(memory, said)
    torch.testing.assert_close(ours[..., : len(one.vocabulary)], theirs, atol=1e-5, rtol=0)
    run = trained(task, tmp_path / "on", 2)
    config = replace(SMALL, start=source, decoder=decoder, updates=2)
    again = Captioning(config, Squares(), Squares(), PHOTOS, words=load(run.path).vocabulary)
    assert again.vocabulary.words == words  # of one that goes on


def test_a_started_encoder_is_what_it_was_there(tmp_path):
    """Tuned before, it is not the published one that --weights names by default."""
    tuned = trained(made(updates=3), tmp_path / "tuned", 3).path / "last.safetensors"
    frozen = trained(made(updates=3, encoder_rate=0.0), tmp_path / "frozen", 3).path
    for source, published in ((tuned, None), (frozen / "last.safetensors", "arcade")):
        task = made(start=str(source), updates=3, encoder_rate=0.0)
        task.export(tmp_path / "on.safetensors")
        task.close()
        found, wanted = load(tmp_path / "on.safetensors"), load(source)
        assert found.plan.published == published
        states = [each.parts.encoder.state_dict() for each in (found, wanted)]
        assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_a_published_encoder_of_a_started_one_may_be_a_file(tmp_path):
    """Where it cannot be fetched, say: then --weights names a file."""
    frozen = trained(made(updates=3, encoder_rate=0.0), tmp_path, 3).path / "last.safetensors"
    once = load(frozen).parts.encoder.backbone.state_dict()
    save_file(
        {k: v * 2 if v.dim() == 4 else v for k, v in once.items()}, tmp_path / "2.safetensors"
    )
    task = made(start=str(frozen), weights=str(tmp_path / "2.safetensors"), encoder_rate=0.0)
    twice = task.parts.encoder.backbone.state_dict()
    assert all(torch.equal(twice[k], v * 2 if v.dim() == 4 else v) for k, v in once.items())
    task.close()


def test_weights_of_a_file_are_kept(tmp_path):
    """Whatever its name is."""
    file = tmp_path / "no_suffix"
    save_file(made().parts.encoder.backbone.state_dict(), file.with_suffix(".safetensors"))
    torch.save(load_file(file.with_suffix(".safetensors")), file)
    for weights in (file, file.with_suffix(".safetensors")):
        task = made(weights=str(weights), encoder_rate=0.0)
        assert task.captioner().plan.published is None
        task.close()


def test_rates_of_encoder_and_decoder():
    task = made(updates=100, critical=20, frozen=40, warmup=4, encoder_rate=1e-3)
    decoder, encoder = task._decoder_rate, task._encoder_rate
    assert decoder(0) == 0.2 and decoder(4) == 1 and 0 < decoder(79) < 0.02
    assert encoder(39) == 0 and encoder(40) == 0.2 and encoder(44) == 1 and encoder(60) > 0.4
    assert decoder(80) == 5e-5 / 5e-3 and encoder(80) == 0
    named = [task.captioner().plan.published]
    for task.progress in (40, 41, 90):  # tuned from the 41st on, and in the end still tuned
        named.append(task.captioner().plan.published)
    assert named == ["arcade", "arcade", None, None]
    task.close()


def test_a_run_of_other_captions_is_refused(tmp_path):
    run = trained(made(updates=2), tmp_path, 2)
    task = made(pairs=Squares(count=6), updates=2)
    with pytest.raises(UserError, match="does not hold the captions"):
        task.attach(Run.open(run.path))


def test_frames_show_what_is_said_and_where_it_looked(tmp_path):
    task = made(updates=4)
    assert not list(task.frames())
    trained(task, tmp_path, 4)
    frames = list(task.frames())
    assert len(frames) == 8 and frames[0].pixels.shape == (32, 32, 3)
    assert all(0 <= box.x < 32 and 0 <= box.y < 32 for frame in frames for box in frame.boxes)
    assert (tmp_path / "caption" / "one" / "gallery").exists()


def test_a_published_encoder_is_named_and_not_kept_while_it_is_frozen(tmp_path):
    task = made(replace(SMALL, weights="arcade", encoder_rate=0.0, updates=2))
    run = trained(task, tmp_path, 2)
    file = run.path / "best.safetensors"
    one = load(file)
    assert one.plan.published == "arcade"
    assert file.stat().st_size < 2 * sum(p.numel() for p in one.parts.encoder.parameters())
    x = task.pairs.read(torch.arange(8)).float() / 255
    assert len(one.caption(x)) == 8


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"frames": 2, "encoder_rate": 0.0}, "No published weights know clips"),
        ({"decoder": "nic", "doubly": 1.0}, "not for nic"),
        ({"critical": 60}, "part of --updates"),
        ({"critical": 30, "steps": 20}, "leaves nothing of 20 updates"),
        ({"stress": 0.0}, "--stress"),
        ({"auxiliary": 1.0, "auxiliary_first": 0.5, "frozen": 2}, "no --frozen"),
        ({"auxiliary_first": 1.0}, "--auxiliary-first"),
        ({"critical": 5, "sentences": 1}, "--sentences from 2"),
        ({"imitation": -1.0}, "--imitation"),
        ({"auxiliary": -1.0}, "--auxiliary"),
        ({"auxiliary": 1.0, "encoder_rate": 0.0}, "encoder that learns"),
        ({"auxiliary": 1.0, "mirrored": True}, "--no-mirrored"),
        ({"differences": True}, "between the frames of clips"),
        ({"longest": 200}, "--longest"),
        ({"size": (3,)}, "--size"),
        ({"dropout": 1.0}, "--dropout"),
        ({"batch_size": 0}, "--batch-size"),
        ({"smoothing": -1.0}, "--smoothing"),
        ({"doubly": -1.0}, "--doubly"),
        ({"layer": "relu9_9"}, "No layer"),
    ],
)
def test_settings_that_do_not_do(changes, part):
    with pytest.raises(UserError, match=part):
        made(**changes)


def test_critical_updates_need_references():
    class Silent(Squares):
        def references(self, index):
            return [] if index == 3 else super().references(index)

    with pytest.raises(UserError, match="captions to compare with"):
        made(pairs=Silent(), critical=5)
