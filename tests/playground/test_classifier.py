"""A classifier alone: every form of picture, ensembles, its file and whatever else is a file."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from playground import classify
from playground.backbone import create
from playground.classifier import (
    KEY,
    Classifier,
    Design,
    Ensemble,
    Result,
    evaluate,
    is_classifier,
    load,
)
from playground.data import Pictures
from playground.errors import UserError
from playground.media import write_image

CLASSES = ("cat", "dog", "owl")


def made(seed=0, channels=3, classes=CLASSES, size=(16, 16), augment="digits", options=None):
    torch.manual_seed(seed)
    options = {"width": 0.25, "norm": "batch"} if options is None else options
    design = Design("deepconv", options, classes, channels, size, augment)
    network = create("deepconv", channels, len(classes), **options)
    return Classifier(network, design, {"score": 50.0})


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def test_predicts_by_name_the_likeliest_first(picture):
    (found,) = made().predict(picture)
    assert set(found) == set(CLASSES) and sum(found.values()) == pytest.approx(1, abs=1e-5)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert made().probabilities(picture)[0].max() == pytest.approx(max(found.values()))


def test_every_form_of_a_picture_gives_the_same(picture, tmp_path):
    classifier = made()
    wanted = classifier.probabilities(picture)
    unit = picture.astype(np.float32) / 255
    write_image(tmp_path / "a.png", picture)
    forms = [
        [picture],
        picture[None],
        unit,
        unit.transpose(2, 0, 1),
        torch.from_numpy(unit).permute(2, 0, 1)[None],
        torch.from_numpy(picture).permute(2, 0, 1),
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
    ]
    for form in forms:
        assert torch.allclose(classifier.probabilities(form), wanted, atol=1e-5)
    assert classifier.probabilities([picture] * 300).shape == (300, 3)


def test_other_sizes_and_channels_are_made_fit(picture):
    classifier = made()
    large = picture.repeat(3, axis=0).repeat(3, axis=1)
    wide = np.concatenate([large[:, :8], large, large[:, :8]], axis=1)  # the centre is kept
    for other in (wide, large, [wide, picture]):
        assert classifier.probabilities(other).shape[1] == 3
    assert torch.allclose(classifier.probabilities(wide), classifier.probabilities(large))
    grey = picture.mean(2).astype(np.uint8)
    assert torch.allclose(
        classifier.probabilities(grey), classifier.probabilities(np.stack([grey] * 3, 2))
    )
    one = made(channels=1)
    assert torch.allclose(
        one.probabilities(np.stack([grey] * 3, 2)), one.probabilities(grey), atol=1e-5
    )


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((4, 4, 3), np.int64),
        np.zeros((0, 4, 4, 3), np.uint8),
        np.full((4, 4, 3), 255.0),
        np.full((4, 4, 3), np.nan),
        np.zeros(4, np.uint8),
        "nowhere.png",
    ],
)
def test_what_is_no_picture(wrong):
    with pytest.raises(UserError):
        made().predict(wrong)


def test_looking_changes_nothing(picture):
    classifier = made()
    classifier.network.train()
    before = {k: v.clone() for k, v in classifier.network.state_dict().items()}
    rng = torch.get_rng_state()
    first, second = (classifier.probabilities(picture, views=4) for _ in range(2))
    assert torch.equal(first, second) and torch.equal(rng, torch.get_rng_state())
    assert classifier.network.training and classifier.network.norm1_1.training
    for key, tensor in classifier.network.state_dict().items():
        assert torch.equal(tensor, before[key])
    assert not torch.allclose(first, classifier.probabilities(picture))  # other views count
    plain = made(augment="none")
    assert torch.allclose(plain.probabilities(picture, views=3), plain.probabilities(picture))


def test_an_ensemble_is_the_mean(picture):
    members = [made(seed) for seed in range(3)]
    wanted = torch.stack([member.probabilities(picture) for member in members]).mean(0)
    ensemble = Ensemble(members)
    assert torch.allclose(ensemble.probabilities(picture), wanted)
    assert list(ensemble.predict(picture)[0].values()) == pytest.approx(
        sorted(wanted[0].tolist(), reverse=True)
    )
    with pytest.raises(UserError, match="same classes"):
        Ensemble([made(), made(classes=("a", "b"))])


def pictures(labels, classes=CLASSES):
    store = torch.randint(0, 256, (len(labels), 3, 16, 16), dtype=torch.uint8)
    return Pictures(store, torch.tensor(labels), classes)


def test_evaluate_counts():
    found = evaluate(made(), pictures([0, 1, 2, 1]))
    assert found.probabilities.shape == (4, 3)
    assert evaluate(made(), pictures([0]), stop=lambda: True) is None
    with pytest.raises(UserError, match=r"cat, dog, owl.*show b"):
        evaluate(made(), pictures([0, 1], ("owl", "b")))


def test_evaluate_takes_a_share_without_pictures():
    none = pictures([0, 1]).take(torch.arange(0))
    assert evaluate(made(), none).probabilities.shape == (0, 3)


def test_evaluate_finds_classes_by_name():
    shown = pictures([0, 1, 1], ("owl", "cat"))
    found = evaluate(made(), shown)
    assert found.classes == CLASSES and found.labels.tolist() == [2, 0, 0]


def test_result_by_hand():
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1]])
    result = Result(probabilities, torch.tensor([0, 1, 1]), CLASSES)
    assert result.wrong.tolist() == [1] and result.accuracy == pytest.approx(200 / 3)
    assert result.confusion().tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert result.recall() == {CLASSES[0]: 100, CLASSES[1]: 50}  # none of the third
    figures = result.figures()
    assert figures["wrong"] == 1 and "top5" not in figures
    assert figures["loss"] == pytest.approx(-np.log([0.7, 0.3, 0.8]).mean())
    many = tuple(map(str, range(20)))
    rows = torch.arange(20.0).softmax(0).expand(4, 20)
    assert Result(rows, torch.tensor([19, 15, 14, 0]), many).figures()["top5"] == 50


def test_a_file_brings_all_that_is_needed(tmp_path, picture):
    classifier = made(size=(16, 20))
    file = tmp_path / "a.safetensors"
    classifier.save(file)
    found = load(file)
    assert isinstance(found, Classifier) and found.design == classifier.design
    assert found.card == {"score": 50.0} and not found.network.training
    assert torch.equal(found.probabilities(picture), classifier.probabilities(picture))
    assert file.read_bytes() == (classifier.save(file), file.read_bytes())[1]
    ensemble = load(file, str(file))
    assert isinstance(ensemble, Ensemble) and len(ensemble.members) == 2
    assert is_classifier(str(file)) and not is_classifier(str(tmp_path))
    trunk = create("deepconv", 3, 5, weights=file, width=0.25, norm="batch")
    assert torch.equal(trunk.conv1_1.weight, classifier.network.conv1_1.weight)
    assert classify.load is load


def test_loading_draws_no_random_numbers(tmp_path):
    made().save(tmp_path / "a.safetensors")
    before = torch.get_rng_state()
    load(tmp_path / "a.safetensors")
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"format": 2}, "update the playground"),
        ({"format": None}, "no classifier"),
        ({"card": 3}, "damaged"),
        ({"design": {}}, "damaged"),
        ({"backbone": "resnet81"}, "resnet18"),
        ({"options": {"depth": 3}}, "no option"),
        ({"options": {"width": 9000.0}}, "does not fit"),
        ({"options": {"width": "a"}}, "must be above 0, not a"),
        ({"classes": ["a"]}, "damaged"),
        ({"channels": 7}, "damaged"),
        ({"size": [0, 3]}, "damaged"),
        ({"tensor": None}, "does not fit"),
        ({"tensor": float("nan")}, "no finite numbers"),
    ],
)
def test_strange_files(tmp_path, change, part):
    file = tmp_path / "a.safetensors"
    made().save(file)
    tensors = load_file(file)
    design = json.loads(json.dumps(vars(made().design)))
    about = {"format": 1, "design": design, "card": {}}
    ((key, value),) = change.items()
    metadata = {}
    if key == "tensor":
        if value is None:
            del tensors["conv1_1.weight"]
        else:
            tensors["conv1_1.weight"][0] = value
    elif key in about:
        about[key] = value
    else:
        design[key] = value
    if about["format"] is not None:
        metadata = {KEY: json.dumps(about)}
    save_file(tensors, file, metadata)
    with pytest.raises(UserError, match=part):
        load(file)


def test_no_file_and_no_run(tmp_path):
    (tmp_path / "torn.safetensors").write_bytes(b"\x10\0\0\0")
    for name, part in (("none", "no file or run"), ("torn.safetensors", "not a readable")):
        with pytest.raises(UserError, match=part):
            load(tmp_path / name)
    with pytest.raises(UserError, match="not a run"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"task": "dqn", "config": {}}))
    with pytest.raises(UserError, match="run of dqn"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"task": "classify", "config": {}}))
    with pytest.raises(UserError, match="no classifier yet"):
        load(tmp_path)
