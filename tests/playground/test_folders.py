import os
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from playground import folders, ranks
from playground.errors import UserError
from playground.folders import Files, any_folder, class_folders
from playground.media import read_image, write_image


def picture(value, height=8, width=8):
    return np.full((height, width, 3), value, np.uint8)


def fill(folder, count=5, first=0, **shape):
    """Files 0.png, … of which each is of a shade of its own."""
    for i in range(count):
        write_image(folder / f"{i}.png", picture(first + i, **shape))


def shades(store):
    return store[torch.arange(store.shape[0])][:, 0, 0, 0].tolist()


class Said(list):
    """Takes sentences."""

    __call__ = list.append


def read(path, split="train", size=None, seed=0):
    said = Said()
    store, labels, classes = class_folders(path, split, size, seed, said)
    return shades(store), labels.tolist(), classes, said


# Which files belong to what


def test_classes_are_folders_in_order(tmp_path):
    fill(tmp_path / "train" / "b", 2, 10)
    fill(tmp_path / "train" / "a" / "deep" / "er", 2, 20)
    fill(tmp_path / "val" / "b", 1, 30)
    assert read(tmp_path) == ([20, 21, 10, 11], [0, 0, 1, 1], ("a", "b"), [])
    fill(tmp_path / "val" / "a", 1, 40)
    assert read(tmp_path, "test") == ([40, 30], [0, 1], ("a", "b"), [])


@pytest.mark.parametrize(
    ("train", "test"),
    [
        *[("train", name) for name in ("val", "valid", "validation", "test", "eval")],
        *[("Train", "Test"), ("TRAIN", "VAL"), ("Training", "Testing"), ("Training", "Test")],
        *[("training_set", "test_set"), ("TrainSet", "TestSet"), ("Train Set", "Validation-Set")],
    ],
)
def test_every_usual_name_of_a_split(tmp_path, train, test):
    for i, label in enumerate("ab"):
        fill(tmp_path / train / label, 2, 10 * i)
        fill(tmp_path / test / label, 1, 100 + i)
    assert read(tmp_path, "test") == ([100, 101], [0, 1], ("a", "b"), [])
    assert read(tmp_path) == ([0, 1, 10, 11], [0, 0, 1, 1], ("a", "b"), [])


def test_what_lies_beside_a_split_is_told(tmp_path):
    for name in ("train", "val", "test", "extra"):
        for label in "ab":
            fill(tmp_path / name / label, 2)
    (tmp_path / "empty").mkdir()
    (tmp_path / "README.txt").write_text("no picture")
    told = [f"Left out of {tmp_path}: extra/, test/."]
    assert read(tmp_path)[2:] == read(tmp_path, "test")[2:] == (("a", "b"), told)
    fill(tmp_path, 2)
    fill(tmp_path / "val", 1)
    loose = "pictures outside of class folders, such as 0.png."
    told = [f"Left out of {tmp_path}: extra/, test/, {loose}"]
    assert read(tmp_path)[3] == told
    assert read(tmp_path, "test")[3] == [*told, f"Left out of {tmp_path / 'val'}: {loose}"]


def test_pictures_beside_class_folders_are_told(tmp_path):
    for name in ("a", "b"):
        fill(tmp_path / name)
    fill(tmp_path, 2)
    assert read(tmp_path)[3] == [
        f"Left out of {tmp_path}: pictures outside of class folders, such as 0.png."
    ]


def test_train_may_be_a_class(tmp_path):
    for name in ("bus", "train"):
        fill(tmp_path / name)
    (tmp_path / "train" / ".ipynb_checkpoints").mkdir()
    assert read(tmp_path)[2:] == (("bus", "train"), [])
    fill(tmp_path / "train" / "steam", 2)  # with pictures of its own it still is one
    assert read(tmp_path)[2:] == (("bus", "train"), [])


def test_train_with_class_folders_is_none_and_others_beside_it_are_told(tmp_path):
    for name in ("a", "b"):
        fill(tmp_path / "Train" / name, 10)
    for i in range(6):
        fill(tmp_path / f"class{i}", 1)
    _, _, classes, said = read(tmp_path)
    assert classes == ("a", "b")
    assert said == [f"Left out of {tmp_path}: class0/, class1/, class2/, class3/ and 2 more."]


def test_train_alone_is_split(tmp_path):
    for name in ("a", "b"):
        fill(tmp_path / "train" / name, 10)
    for place in (tmp_path, tmp_path / "train"):  # alike
        train, test = split_of(place)
        assert (len(train), len(test)) == (16, 4) and read(place)[2:] == (("a", "b"), [])
    assert split_of(tmp_path) == split_of(tmp_path / "train")


def test_what_systems_leave_behind_is_no_class_and_not_counted(tmp_path):
    for name in ("a", "b", ".hidden", "__MACOSX"):
        fill(tmp_path / name, 4)
    for name in ("a/.DS_Store", "a/._0.png", "b/.ipynb_checkpoints/0.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"junk")
    (tmp_path / "README.txt").write_text("beside the classes")
    (tmp_path / "empty").mkdir()
    pixels, _, classes, said = read(tmp_path)
    assert classes == ("a", "b") and len(pixels) + len(read(tmp_path, "test")[0]) == 8 and not said


# The split of a folder that brings none


def split_of(path, seed=0):
    return [read(path, split, seed=seed)[0] for split in ("train", "test")]


def test_a_fifth_of_the_pictures_is_for_testing(tmp_path):
    files = [tmp_path / label / f"{i}.png" for label in "abcde" for i in range(2000)]
    parts = [
        [file for i in range(0, len(files), 2000)
         for file in folders._part(tmp_path, files[i : i + 2000], split, 0)]
        for split in ("train", "test")
    ]  # fmt: skip
    assert sorted([*parts[0], *parts[1]]) == sorted(files)
    assert abs(len(parts[1]) - 2000) < 4 * (10_000 * 0.2 * 0.8) ** 0.5


def test_all_is_every_picture_or_the_folders_own_test_split(tmp_path):
    for first, label in ((0, "a"), (100, "b")):
        fill(tmp_path / "whole" / label, 7, first)
        fill(tmp_path / "split" / "train" / label, 3, first)
        fill(tmp_path / "split" / "test" / label, 2, first + 50)
    assert sorted(read(tmp_path / "whole", "all")[0]) == [*range(7), *range(100, 107)]
    assert read(tmp_path / "split", "all") == read(tmp_path / "split", "test")
    fill(tmp_path / "one" / "b", 1, 7)
    assert read(tmp_path / "one", "all") == ([7], [0], ("b",), [])  # a classifier may know more


def test_small_classes_are_in_both_splits(tmp_path):
    for count in range(2, 8):
        for label in map(str, range(100)):  # among them some whose hashes are all high, or all low
            files = [tmp_path / label / f"{i}.png" for i in range(count)]
            train, test = (folders._part(tmp_path, files, split, 0) for split in ("train", "test"))
            assert train and test and sorted([*train, *test]) == files
    for i, count in enumerate((5, 2, 1)):
        fill(tmp_path / "made" / f"c{i}", count, 50 * i)
    _, train_labels, classes, said = read(tmp_path / "made")
    assert set(train_labels) == {0, 1, 2} and said == []
    _, test_labels, same, said = read(tmp_path / "made", "test")
    assert set(test_labels) == {0, 1} and classes == same
    assert said == [f"No pictures to test on in {tmp_path / 'made'} for 1 of 3 classes: c2."]


def test_the_split_depends_on_names_and_seed_alone(tmp_path):
    for name in ("one", "two"):  # made in another order, of other times and pixels
        for label in "ab" if name == "one" else "ba":
            for i in range(20) if name == "one" else reversed(range(20)):
                write_image(tmp_path / name / label / f"{i}.png", picture(i + 100 * (label == "b")))
    os.utime(tmp_path / "two" / "a" / "3.png", (1, 1))
    first = split_of(tmp_path / "one")
    assert first == split_of(tmp_path / "two")
    assert sorted([*first[0], *first[1]]) == [*range(20), *range(100, 120)]
    assert first != split_of(tmp_path / "one", seed=1)
    assert {shade % 100 for shade in first[1] if shade < 100} != {
        shade % 100 for shade in first[1] if shade >= 100
    }, "classes with the same names of files are split each for itself"
    # Pinned: a machine or version that splits otherwise would test on what it was trained with.
    assert first[1] == [11, 18, 6, 7, 100, 110, 112, 114, 115, 117, 104]


def test_pictures_stay_in_their_split_when_others_come_and_go(tmp_path):
    def names(count, split):
        files = [tmp_path / "a" / f"{i}.png" for i in range(count)]
        return {file.name for file in folders._part(tmp_path, files, split, 0)}

    for split in ("train", "test"):
        few, more, many = (names(count, split) for count in (50, 51, 500))
        assert few <= more <= many and few == {n for n in many if int(n[:-4]) < 50}


def test_names_that_are_no_text_are_split_too(tmp_path):
    files = [tmp_path / os.fsdecode(bytes([97 + i, 0xFF])) for i in range(5)]
    train, test = (folders._part(tmp_path, files, split, 0) for split in ("train", "test"))
    assert len(train) + len(test) == 5 and test


# What is left out


def make_bad(folder):
    """Every kind of file in a folder that is no readable picture; returns their number."""
    folder.mkdir(parents=True, exist_ok=True)
    data = (folder / "0.png").read_bytes() if (folder / "0.png").exists() else b"\x89PNG"
    bad = {
        "torn.png": data[:45],
        "empty.jpg": b"",
        "text.png": b"not a picture",
        "labels.csv": b"a,b\n1,2\n",
        "film.mp4": b"\0\0\0\x18ftypmp42",
        "Thumbs.db": b"\xd0\xcf\x11\xe0",
        "no suffix": b"\0" * 100,
    }
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    return len(bad)


def test_bad_files_are_left_out_with_one_count(tmp_path):
    for i, name in enumerate(("a", "b")):
        fill(tmp_path / "train" / name, 3, 10 * i)
        fill(tmp_path / "val" / name, 1, 100 + 10 * i)
    count = make_bad(tmp_path / "train" / "a") + make_bad(tmp_path / "train" / "b" / "deep")
    pixels, labels, _, said = read(tmp_path)
    assert (pixels, labels) == ([0, 1, 2, 10, 11, 12], [0, 0, 0, 1, 1, 1])
    assert len(said) == 1 and f"Left out {count} of {count + 6} files" in said[0]
    assert "\n" not in said[0] and "a/Thumbs.db" in said[0].replace(os.sep, "/")
    assert read(tmp_path, "test")[3] == [], "nothing is wrong with these"


def test_a_folder_without_a_readable_picture_is_no_class(tmp_path):
    for name in ("a", "b"):
        fill(tmp_path / name, 5)
    make_bad(tmp_path / "notes")
    for split, lines in (("train", 1), ("test", 1)):
        _, _, classes, said = read(tmp_path, split)
        assert classes == ("a", "b") and len(said) == lines and "notes: 7 files" in said[0]


def test_all_kinds_of_pictures_are_read_together(tmp_path):
    """Grey, 16 bits, palette, CMYK, transparent, animated, turned: all (3, 8, 8)."""
    folder = tmp_path / "a"
    fill(folder, 1)
    fill(tmp_path / "b", 1)
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb = Image.fromarray(picture(90, 8, 16))
    rgb.convert("L").save(folder / "grey.png")
    Image.fromarray(np.full((8, 16), 90 * 257, np.uint16)).save(folder / "deep.png")
    rgb.quantize(4).save(folder / "palette.png")
    rgb.convert("CMYK").save(folder / "cmyk.jpg", quality=100)
    rgb.convert("RGBA").save(folder / "alpha.png")
    rgb.save(folder / "film.gif", save_all=True, append_images=[Image.new("RGB", (16, 8), "red")])
    rgb.save(folder / "turned.jpg", exif=exif, quality=100)
    said = Said()
    store, labels, _ = any_folder(tmp_path, 8, said)
    assert store.shape == (9, 3, 8, 8) and labels.tolist() == [0] * 8 + [1] and not said
    values = store[torch.arange(9)].flatten(1).int()
    assert (values.amax(1) - values.amin(1)).max() <= 2
    assert sorted(values[:, 0].tolist())[:2] == [0, 0]
    assert (values[:, 0].sort().values[2:] - 90).abs().max() <= 2


# What is refused


def refusal(path, split="train", size=None):
    with pytest.raises(UserError) as caught:
        class_folders(path, split, size, 0, Said())
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    return str(caught.value)


def test_an_empty_folder_is_refused(tmp_path):
    assert "the folder is empty" in refusal(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert "the folder is empty" in refusal(tmp_path)
    with pytest.raises(UserError, match="the folder is empty"):
        any_folder(tmp_path, None, Said())


def test_a_folder_without_anything_readable_is_refused(tmp_path):
    for name in ("a", "b"):
        make_bad(tmp_path / name)
    assert "none of its 14 files" in refusal(tmp_path)
    with pytest.raises(UserError, match="none of its 14 files"):
        any_folder(tmp_path, None, Said())


def test_one_class_is_refused(tmp_path):
    fill(tmp_path / "cats")
    assert "only cats" in refusal(tmp_path)
    make_bad(tmp_path / "notes")
    assert "only cats" in refusal(tmp_path)


def test_pictures_without_class_folders_are_refused(tmp_path):
    fill(tmp_path)
    assert "has none" in refusal(tmp_path)
    fill(tmp_path / "flat" / "train")
    fill(tmp_path / "flat" / "val")
    assert "has none" in refusal(tmp_path / "flat")


def test_splits_of_other_classes_are_refused(tmp_path):
    for name in ("a", "b"):
        fill(tmp_path / "train" / name)
    (tmp_path / "val").mkdir()
    assert "no class folders" in refusal(tmp_path, "test")
    fill(tmp_path / "val" / "c")
    assert "a class, c, that train/ lacks" in refusal(tmp_path, "test")
    assert read(tmp_path)[2] == ("a", "b")


def test_classes_without_a_picture_to_test_on_are_told(tmp_path):
    for i, name in enumerate("abcdefg"):
        fill(tmp_path / "train" / name, 2)
        if i < 2:
            fill(tmp_path / "val" / name, 1)
    (tmp_path / "val" / "b" / "0.png").write_bytes(b"broken")
    fill(tmp_path / "val" / "c", 1)
    _, labels, classes, said = read(tmp_path, "test")
    assert labels == [0, 2] and len(classes) == 7
    assert said[-1] == (
        f"No pictures to test on in {tmp_path / 'val'} for 5 of 7 classes: b, d, e, f and 1 more."
    )
    assert read(tmp_path)[3] == []


def test_too_few_pictures_to_test_on_are_refused(tmp_path):
    for name in ("a", "b"):
        fill(tmp_path / name, 1)
    assert len(read(tmp_path)[0]) == 2
    assert "none is left for testing" in refusal(tmp_path, "test")


def test_pictures_of_several_sizes_need_one_said(tmp_path):
    fill(tmp_path / "a", 3)
    fill(tmp_path / "b", 3, height=12)
    assert "8x8 and 8x12" in refusal(tmp_path) and "--size" in refusal(tmp_path)
    assert len(read(tmp_path, size=6)[0]) == 4


def test_pictures_of_one_size_keep_it(tmp_path):
    for name in ("a", "b"):
        fill(tmp_path / name, 3, height=6, width=10)
    store, _, _ = class_folders(tmp_path, "train", None, 0, Said())
    assert store.shape == (4, 3, 6, 10)


# Folders for tasks without classes


def test_a_plain_folder_has_one_label(tmp_path):
    fill(tmp_path / "art", 3)
    (tmp_path / "art" / "credits.csv").write_text("who, what")
    said = Said()
    store, labels, classes = any_folder(tmp_path / "art", 4, said)
    assert shades(store) == [0, 1, 2] and labels.tolist() == [0, 0, 0] and classes == ("art",)
    assert len(said) == 1 and "Left out 1 of 4" in said[0]


def test_loose_pictures_and_folders_are_all_read(tmp_path):
    fill(tmp_path / "art", 2)
    fill(tmp_path / "art" / "old", 2, 10)
    store, labels, classes = any_folder(tmp_path / "art", None, Said())
    assert shades(store) == [0, 1, 10, 11] and labels.tolist() == [0, 0, 1, 1]
    assert classes == ("art", "old")


# More than fits into memory


def test_what_does_not_fit_is_decoded_when_drawn(tmp_path, monkeypatch):
    for i, name in enumerate(("a", "b")):
        fill(tmp_path / name, 10, 100 * i)
    count = make_bad(tmp_path / "a")
    kept, kept_labels, _ = any_folder(tmp_path, 4, Said())
    monkeypatch.setattr(folders, "available_memory", lambda: 4 * 27 * 48 - 1)
    said = Said()
    store, labels, _ = any_folder(tmp_path, 4, said)
    assert isinstance(kept, torch.Tensor) and isinstance(store, Files)
    assert store.shape == kept.shape == (20, 3, 4, 4) and torch.equal(labels, kept_labels)
    some = torch.tensor([19, 0, 0, 7])
    assert torch.equal(store[some], kept[some]) and store[some].dtype == torch.uint8
    assert len(said) == 2 and f"Left out {count} of" in said[0] and "fit into memory" in said[1]
    again = pickle.loads(pickle.dumps(store))
    assert torch.equal(again[some], kept[some]), "a process that is spawned gets it too"
    monkeypatch.setattr(folders, "available_memory", lambda: 4 * 27 * 48)
    assert isinstance(any_folder(tmp_path, 4, Said())[0], torch.Tensor)
    monkeypatch.setattr(ranks, "local_world", lambda: 2)
    assert isinstance(any_folder(tmp_path, 4, Said())[0], Files), "two processes share it"
    monkeypatch.setattr(folders, "available_memory", lambda: None)
    assert isinstance(any_folder(tmp_path, 4, Said())[0], torch.Tensor)
    (tmp_path / "a" / "0.png").unlink()
    with pytest.raises(UserError, match=r"There is no picture .*0\.png"):
        store[torch.tensor([0])]


def test_many_files_are_announced(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "MANY", 4)
    fill(tmp_path, 4)
    said = Said()
    any_folder(tmp_path, None, said)
    assert len(said) == 1 and "Reading 4 pictures" in said[0]


def test_painting_files(data_dir):
    """Photos and paintings of many sizes, none of them broken."""
    said = Said()
    path = data_dir / "style_transfer"
    store, labels, classes = any_folder(path, 32, said)
    assert classes == ("content", "style") and store.shape == (21, 3, 32, 32)
    assert labels.bincount().tolist() == [11, 10] and not said
    first = min((path / "content").iterdir())
    assert np.array_equal(store[torch.tensor([0])][0].permute(1, 2, 0), read_image(first, 32))
