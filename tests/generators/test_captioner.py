"""The captioner: what it takes, memory and places, registers, its file."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from generators import captioner
from generators.captioner import Captioner, Parts, Plan, load, load_own, waves, word_of
from generators.words import BEGIN, END, Vocabulary
from playground.errors import UserError
from playground.media import read_image, write_image

WORDS = ["<describe>", "<comment>", "a", "ball", "the", "paddle", ".", "moves"]
PLAN = Plan(
    backbone="nature", layer="relu2", grid=(3, 4), size=(40, 48), frames=2, decoder="transformer",
    hidden=8, dropout=0.0, registers=("describe", "comment"), published=None,
)  # fmt: skip


def made(plan=PLAN, seed=0):
    torch.manual_seed(seed)
    words = Vocabulary(WORDS)
    parts = Parts(plan, plan.encoder(), len(words)).eval()
    for parameter in parts.parameters():
        parameter.data = (2 * parameter.data).half().float()  # captions differ; as files have them
    parts.decoder.bias.data[END] = -3  # and are not empty
    return Captioner(parts, words, plan, {"updates": 3})


def clips(count=3, frames=2, height=40, width=48):
    return np.random.default_rng(0).integers(0, 256, (count, frames, height, width, 3), np.uint8)


def test_a_clip_is_seen_whole_and_each_place_knows_where_it_is():
    encoder = PLAN.encoder().eval()
    x = torch.rand(2, 2, 3, 40, 48)
    memory = encoder(x)
    assert memory.shape == (2, 12, encoder.features) and encoder.features == 64 + 24
    assert torch.equal(memory[0, :, 64:], waves(3, 4))
    assert torch.equal(encoder.maps(x).flatten(2).mT, memory)
    for frame in (0, 1):  # each of its frames counts
        other = x.clone()
        other[:, frame] = 0
        assert not torch.allclose(encoder(other)[..., :64], memory[..., :64])
    with pytest.raises(ValueError, match="2 frame"):
        encoder(x[:, :1])


def test_weights_for_pictures_begin_with_the_last_frame_of_a_clip(tmp_path):
    picture = replace(PLAN, frames=1).encoder().eval()
    save_file(picture.backbone.state_dict(), tmp_path / "nature.safetensors")
    clip = PLAN.encoder(tmp_path / "nature.safetensors").eval()
    x = torch.rand(2, 2, 3, 40, 48)
    assert torch.allclose(clip(x), picture(x[:, -1]), atol=1e-5)


def test_differences_are_to_the_last_frame_and_take_over_what_was_learned_without():
    plain, apart = PLAN.encoder().eval(), replace(PLAN, differences=True).encoder().eval()
    x = torch.rand(2, 2, 3, 40, 48)
    apart.load_state_dict(plain.state_dict())
    shown = torch.stack([x[:, 0] - x[:, 1], x[:, 1]], 1)
    assert torch.allclose(apart(x), plain(shown), atol=1e-6)
    for other in (plain, apart):  # the second has seen differences already
        taught = replace(PLAN, differences=True).encoder().eval()
        taught.learn_on(other)
        assert torch.allclose(taught(x), other(x), atol=1e-5)


def test_pictures_are_not_clips():
    plan = replace(PLAN, frames=1, grid=None, size=(84, 84))
    one = made(plan)
    picture = clips()[0, 0]
    (found,) = one.look(picture)
    assert found.attention.shape == (len(found.words), 9, 9)
    assert np.allclose(found.attention.sum((1, 2)), 1, atol=1e-5)
    with pytest.raises(UserError, match="pictures"):
        one.caption(torch.rand(1, 2, 3, 84, 84))
    with pytest.raises(UserError, match="clips"):
        made().caption(torch.rand(3, 84, 84))


def test_a_picture_is_a_clip_of_one_frame():
    one, (clip, other, _) = made(), clips()
    alone = one.fitted(clip[:1])
    assert not alone[:, 0].any() and torch.equal(alone[0, 1], one.fitted(clip)[0, 0])
    assert torch.equal(one.fitted(clip[0]), alone)
    mixed = one.fitted([clip[0], other, clip[0, :20]])
    assert torch.equal(mixed, torch.cat([alone, one.fitted(other), one.fitted(clip[:1, :20])]))
    assert len(one.caption([clip[0], other])) == 2 and one.caption([]) == one.look([]) == []


def test_floats_are_clips_of_any_length():
    one, array = made(), clips(2, 5)
    floats = torch.from_numpy(array).movedim(-1, -3) / 255
    assert torch.equal(one.fitted(floats), one.fitted(list(array)))
    assert torch.equal(one.fitted(floats), floats[:, [0, 4]])
    assert torch.equal(one.fitted(floats[:, :1].numpy()), one.fitted([clip[0] for clip in array]))


def test_what_is_no_picture_or_clip_is_one_sentence():
    pictures, of_clips = made(replace(PLAN, frames=1)), made()
    for wrong in (
        torch.rand(2, 3, 40, 48), [torch.rand(2, 3, 40, 48)], torch.rand(1, 2, 1, 40, 48),
        clips()[0, 0].astype(int), clips()[0, 0, :, :, 0], clips()[0][:0],
    ):  # fmt: skip
        with pytest.raises(UserError, match=r"takes clips, .* not \w+ \("):
            of_clips.look(wrong)
    for wrong in (torch.rand(1, 2, 3, 40, 48), clips(), clips()[0, 0, :, :, 0], [clips()]):
        with pytest.raises(UserError, match=r"takes pictures, .* not \w+ \("):
            pictures.look(wrong)
    with pytest.raises(UserError, match=r"lie in \[0, 1\]; these reach from 0 to 255"):
        pictures.look(torch.linspace(0, 255, 5760).view(1, 3, 40, 48))
    with pytest.raises(UserError, match="1 to 100 wide, not 101"):
        pictures.look(clips()[0, 0], beam=101)
    assert len(pictures.look(clips()[0])) == 2 and pictures.look([]) == []


def test_an_encoder_needs_so_many_pixels():
    with pytest.raises(UserError, match="1x1 pixels are too few"):
        replace(PLAN, grid=None).encoder().grid_of(1, 1)


def test_pictures_are_named_by_their_paths(tmp_path):
    one, path = made(replace(PLAN, frames=1)), tmp_path / "a.png"
    write_image(path, clips()[0, 0])
    wanted = one.fitted(clips()[0, 0])
    for named in (path, str(path)):
        assert torch.equal(one.fitted(named), wanted)
    assert torch.equal(one.fitted([path, clips()[0, 1]])[:1], wanted)
    with pytest.raises(UserError, match="no picture none"):
        one.caption("none.png")


def test_it_tells_the_games_of_its_training():
    one = made()
    assert one.games == ()
    for data, games in {"atari:pong, ms_pacman,": ("pong", "ms_pacman"), "flickr8k:x": ()}.items():
        one.card["data"] = data
        assert one.games == games
    assert len(load_own("zoo:games").games) > 5 and load_own("zoo:photos").games == ()


def test_every_place_is_told_apart():
    places = waves(26, 20)
    assert places.shape == (520, 24) and len(torch.unique(places, dim=0)) == 520


def test_forms_of_the_same_clip_give_the_same_caption():
    one, array = made(), clips()
    floats = torch.from_numpy(array).permute(0, 1, 4, 2, 3).float() / 255
    wanted = one.caption(array[0]) + one.caption(array[1]) + one.caption(array[2])
    assert one.caption(list(array)) == one.caption(floats) == wanted
    assert one.caption(array[0][[0, 0, 1, 1]]) == wanted[:1]  # as many frames as the plan has


@pytest.mark.parametrize("shape", [(60, 150), (150, 60), (90, 90), (300, 200)])
def test_pictures_are_seen_as_trainings_read_them(shape, tmp_path):
    """Covered, the centre kept, and not stretched; see `caption_data`."""
    one = made(replace(PLAN, frames=1, grid=None, size=(84, 84)))
    y, x = np.mgrid[: shape[0], : shape[1]]
    smooth = np.stack([np.sin(x / 9), np.sin(y / 7), np.cos((x + y) / 8)], -1)
    picture = (127 * smooth + 128).astype(np.uint8)
    write_image(tmp_path / "a.png", picture)
    wanted = read_image(tmp_path / "a.png", (84, 84))
    seen = one.fitted(picture)[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(seen - wanted).max() < 8  # Pillow cuts between pixels, not beside them
    middle = one.seen(picture)
    side = min(shape)
    assert middle.shape == (side, side, 3)
    assert torch.equal(one.fitted(middle), one.fitted(picture))
    assert one.caption([picture, picture[:40]])[:1] == one.caption(middle)  # of any sizes


def test_screens_of_games_are_seen_whole():
    one = made()
    small, large = clips(), clips(height=80, width=96)
    unit = torch.from_numpy(small[0]).permute(0, 3, 1, 2) / 255
    assert torch.equal(one.fitted(small[0])[0], unit)
    x = torch.from_numpy(large[0]).permute(0, 3, 1, 2) / 255
    whole = F.interpolate(x, (40, 48), mode="bilinear", antialias=True, align_corners=False)
    assert torch.allclose(one.fitted(large[0])[0], whole, atol=1e-6)
    assert np.array_equal(one.seen(large[0, 0]), large[0, 0])
    several = one.fitted([small[0], large[1], clips(height=80, width=48)[2]])  # of any sizes
    assert several.shape == (3, 2, 3, 40, 48)
    assert torch.equal(several[2], one.fitted(clips(height=80, width=48)[2, :, 20:60])[0])


def test_registers_begin_with_words_of_their_own():
    one = made()
    assert word_of("comment") == "<comment>"
    begins = [captioner.begin_of(PLAN, one.vocabulary, r) for r in (None, "describe", "comment")]
    assert begins[0] == begins[1] != begins[2]
    said = [one.caption(clips(), register) for register in ("describe", "comment")]
    assert said[0] != said[1]
    with pytest.raises(UserError, match="describe or comment"):
        one.caption(clips(), "shout")
    plain = replace(PLAN, registers=())
    assert captioner.begin_of(plain, one.vocabulary, None) == BEGIN
    with pytest.raises(UserError, match="one way"):
        captioner.begin_of(plain, one.vocabulary, "comment")


@pytest.mark.parametrize("beam", [1, 3])
def test_no_caption_has_what_is_no_word(beam):
    one = made()
    found = one.caption(clips(8), beam=beam)
    assert all(found) and not any("<" in text for text in found)


def test_a_file_holds_all(tmp_path):
    one, file = made(), tmp_path / "c.safetensors"
    one.save(file)
    other = load(file)
    assert other.plan == PLAN and other.card == {"updates": 3}
    assert other.vocabulary.words == one.vocabulary.words
    assert other.caption(clips()) == one.caption(clips())


def test_a_published_encoder_stays_out_of_the_file(tmp_path):
    weights = tmp_path / "nature.safetensors"
    save_file(replace(PLAN, frames=1).encoder().backbone.state_dict(), weights)
    encoder = PLAN.encoder(weights).eval()
    plan = replace(PLAN, published="imagenet")
    words = Vocabulary(WORDS)
    parts = Parts(plan, encoder, len(words)).eval()
    for parameter in parts.decoder.parameters():
        parameter.data = parameter.data.half().float()  # as the file has them
    one = Captioner(parts, words, plan, {})
    one.save(tmp_path / "c.safetensors")
    with safe_open(tmp_path / "c.safetensors", "pt") as file:
        assert all(key.startswith("decoder.") for key in file.keys())  # noqa: SIM118
    other = load(tmp_path / "c.safetensors", encoder=weights)
    assert other.caption(clips()) == one.caption(clips())


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"format": 2}, "update"),
        ({"vocabulary": "[]"}, "vocabulary"),
        ({"plan": {}}, "damaged"),
        ({"card": None}, "damaged"),
    ],
)
def test_damaged_files_are_one_sentence(tmp_path, change, part):
    file = tmp_path / "c.safetensors"
    made().save(file)
    with safe_open(file, "pt") as opened:
        about = json.loads(opened.metadata()[captioner.KEY])
    save_file(load_file(file), file, {captioner.KEY: json.dumps(about | change)})
    with pytest.raises(UserError, match=part):
        load(file)


def test_sources_that_are_none(tmp_path, monkeypatch):
    monkeypatch.setattr(captioner, "ZOO", tmp_path)
    with pytest.raises(UserError, match="train caption"):
        load()
    for source, part in (("zoo:nobody", "no captioner"), (tmp_path / "none", "no file")):
        with pytest.raises(UserError, match=part):
            load(source)


@torch.inference_mode()
def test_belief_is_how_likely_each_word_is():
    speaks = made()
    maps, words = speaks.encode(speaks.fitted(list(clips(2)))), speaks.vocabulary
    texts = ["The ball moves.", "A paddle."]
    belief = speaks.belief(maps, texts, "comment")
    assert belief.shape == (2, 5) and belief[1, 4] == 0
    for row, text in enumerate(texts):
        memory = maps[row : row + 1].flatten(2).mT
        state, before = speaks.parts.decoder.start(memory), words.index["<comment>"]
        for place, word in enumerate([*words.encode([text])[0, 1:-1].tolist(), END]):
            logits, _, state = speaks.parts.decoder.step(state, torch.tensor([before]))
            expected = logits.log_softmax(1)[0, word]
            torch.testing.assert_close(belief[row, place], expected)
            before = word
    described = speaks.belief(maps, texts, "describe")
    assert not torch.allclose(described, belief)


def test_what_is_drawn_is_likely_and_repeats_with_its_seed():
    speaks = made()
    maps = speaks.encode(speaks.fitted(list(clips(2))))
    drawn = [speaks.draw(maps, "describe", 60, seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2] and len(drawn[0]) == 120
    first, second = (speaks.tell(maps, "describe", 1)[i].text.split()[0] for i in (0, 1))
    for words, text in ((drawn[0][:60], first), (drawn[0][60:], second)):
        firsts = [each.split()[0] for each in words if each]
        assert firsts.count(text) == max(firsts.count(word) for word in set(firsts))
