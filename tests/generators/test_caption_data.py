import json
import unicodedata
import zipfile

import numpy as np
import pytest
import torch

from generators import caption_data
from generators.caption_data import load
from generators.caption_files import hashed_split
from playground.errors import UserError
from playground.media import encode_image, write_image


class Said(list):
    """Takes sentences."""

    __call__ = list.append


def shade(number):
    return np.full((6, 8, 3), number, np.uint8)


def pictures(folder, *names):
    """Each of the names gets a picture of a shade of its own: 10, 20, …"""
    for number, name in enumerate(names, 1):
        write_image(folder / name, shade(10 * number))


def archive(file, *names):
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w") as opened:
        for number, name in enumerate(names, 1):
            opened.writestr(name, encode_image(shade(10 * number)))


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")


def read(folder, split="train", kind="flickr8k"):
    """What `load` gives: {name: (shade, captions)}, and what it said."""
    said = Said()
    found = load(f"{kind}:{folder}", split, 4, said)
    pixels = found.read(torch.arange(len(found)))
    assert pixels.shape == (len(found), 3, 4, 4)
    assert pixels.dtype == torch.uint8
    shades = pixels[:, 0, 0, 0].tolist()
    return dict(zip(found.names, zip(shades, found.captions, strict=True), strict=True)), said


# Formats


def karpathy(*images):
    """Of (filename, split, captions)."""
    return {
        "dataset": "flickr8k",
        "images": [
            {
                **{"filename": name, "split": split, "imgid": number, "sentids": []},
                "sentences": [{"raw": text, "tokens": text.lower().split()} for text in captions],
            }
            for number, (name, split, captions) in enumerate(images)
        ],
    }


def test_karpathys_split(tmp_path):
    pictures(tmp_path / "Images", "a.png", "b.png", "c.png", "d.png")
    entries = [
        ("a.png", "train", ["A dog runs .", "A  dog."]),
        ("b.png", "restval", ["Ein Hund läuft."]),
        ("c.png", "val", ["개가 달린다."]),
        ("d.png", "test", ["A cat."]),
    ]
    write(tmp_path / "dataset_flickr8k.json", karpathy(*entries))
    train = {"a.png": (10, ["A dog runs .", "A dog."]), "b.png": (20, ["Ein Hund läuft."])}
    assert read(tmp_path) == (train, [])
    assert read(tmp_path, "val") == ({"c.png": (30, ["개가 달린다."])}, [])
    assert read(tmp_path, "test") == ({"d.png": (40, ["A cat."])}, [])


def test_karpathys_split_of_coco_with_pictures_of_either_year(tmp_path):
    name = "COCO_val2014_000000000042.jpg"
    about = karpathy((name, "restval", ["a bus"]))
    about["images"][0]["filepath"] = "val2014"
    write(tmp_path / "dataset_coco.json", about)
    pictures(tmp_path / "train2017", "000000000042.jpg")
    assert read(tmp_path, kind="coco") == ({name: (10, ["a bus"])}, [])
    pictures(tmp_path / "val2014", "000000000041.jpg", name)
    assert read(tmp_path, kind="coco")[0] == {name: (20, ["a bus"])}


def coco(names, annotations):
    return {
        "images": [{"id": number, "file_name": name} for number, name in names.items()],
        "annotations": [
            {"id": number, "image_id": image, "caption": caption}
            for number, image, caption in annotations
        ],
    }


def test_coco(tmp_path):
    names = {7: "000000000007.jpg", 5: "000000000005.jpg"}
    train = coco(names, [(1, 5, "a bus"), (2, 7, "a cat\n"), (3, 5, "the bus"), (1, 5, "a bus")])
    write(tmp_path / "annotations" / "captions_train2017.json", train)
    pictures(tmp_path / "train2017", *names.values())
    expected = {names[7]: (10, ["a cat"]), names[5]: (20, ["a bus", "the bus"])}
    left = f"Left out of {tmp_path} (train): 1 entry that stood there before."
    assert read(tmp_path, kind="coco") == (expected, [left])
    with pytest.raises(UserError, match=r"no captions_val2017\.json; put it there"):
        load(f"coco:{tmp_path}", "val")
    val = coco({9: "000000000009.jpg"}, [(4, 9, "a kite")])
    write(tmp_path / "annotations" / "captions_val2017.json", val)
    archive(tmp_path / "val2017.zip", "val2017/000000000009.jpg")
    expected = {"000000000009.jpg": (10, ["a kite"])}
    assert read(tmp_path, "val", "coco") == (expected, [])
    with pytest.raises(UserError, match=r"no captions of its test pictures.*dataset_coco\.json"):
        load(f"coco:{tmp_path}", "test")


def test_coco_with_the_captions_of_validation_alone(tmp_path):
    write(tmp_path / "captions_val2014.json", coco({9: "COCO_val2014_9.jpg"}, [(4, 9, "a kite")]))
    pictures(tmp_path, "COCO_val2014_9.jpg")
    assert len(load(f"coco:{tmp_path}", "val")) == 1


def flickr8k(folder):
    """Its token file with one caption of a picture that is not there, as in the published one."""
    tokens = [f"{name}.png#{i}\tCaption {i} of {name} ." for name in "abcd" for i in range(2)]
    write(folder / "Flickr8k.token.txt", "\n".join([*tokens, "d.png.1#0\tA ghost ."]) + "\n")
    for part, names in (("train", "ab"), ("dev", "c"), ("test", "d")):
        text = "".join(f"{name}.png\n" for name in names)
        write(folder / f"Flickr_8k.{part}Images.txt", text)


def test_flickr8k(tmp_path):
    flickr8k(tmp_path / "Flickr8k_text")
    pictures(tmp_path / "Flicker8k_Dataset", "a.png", "b.png", "c.png", "d.png")
    found, said = read(tmp_path)
    assert found["b.png"] == (20, ["Caption 0 of b .", "Caption 1 of b ."])
    assert list(found) == ["a.png", "b.png"]
    assert said == [f"Left out of {tmp_path} (train): 1 picture, such as d.png.1, of no split."]
    assert list(read(tmp_path, "val")[0]) == ["c.png"]
    assert list(read(tmp_path, "test")[0]) == ["d.png"]


def test_flickr30k_in_both_forms(tmp_path):
    table = (
        "image_name| comment_number| comment\n"
        "1.png| 0| Two men , one | two .\n"
        "1.png| 1   A line that lacks its bar .\n"
        "0.png| 0| A dog .\r\n"
        "7.png| 0| A cat .\n"
    )
    captions = {
        "1.png": ["Two men , one | two .", "A line that lacks its bar ."],
        "0.png": ["A dog ."],
        "7.png": ["A cat ."],
    }
    tokens = [f"{n}#{i}\t{text}" for n, texts in captions.items() for i, text in enumerate(texts)]
    for file, text in (("results.csv", table), ("results_20130124.token", "\n".join(tokens))):
        folder = tmp_path / file
        write(folder / file, text)
        pictures(folder, *captions)
        for split, name in zip(("train", "val", "test"), captions, strict=True):
            part, said = read(folder, split)
            assert [(name, texts) for name, (_, texts) in part.items()] == [(name, captions[name])]
            assert len(said) == 1
            assert "tells no split: by a hash of their names, 10%" in said[0]


def test_a_table_with_commas(tmp_path):
    rows = ["image,caption", 'a.png,"A man , a plan ."', "a.png,A man , a plan ."]
    write(tmp_path / "captions.txt", "\r\n".join(rows))
    pictures(tmp_path, "a.png")
    said = Said()
    split = hashed_split("a.png")
    assert load(str(tmp_path), split, 4, said).captions == [["A man , a plan ."] * 2]


def test_hashed_splits_are_a_tenth_each_and_stay():
    names = [f"{number}.jpg" for number in range(3000)]
    counts = [sum(hashed_split(name) == part for name in names) for part in ("val", "test")]
    assert all(abs(count - 300) < 60 for count in counts)
    assert [hashed_split(name) for name in ("1.png", "0.png", "7.png")] == ["train", "val", "test"]


def test_captions_by_name_with_zip_archives(tmp_path):
    about = {
        "a": {"split": "train", "captions": ["one", "two"]},
        "b": {"split": "val", "captions": ["three"]},
        "c": {"split": "extra", "captions": ["four"]},
    }
    write(tmp_path / "captions.json", about)
    archive(tmp_path / "zips" / "x.zip", "a.png", "__MACOSX/._b.png", "deep/b.png", "c.png", "note")
    left = "1 picture, such as c, of no split"
    expected = {"a": (10, ["one", "two"])}
    assert read(tmp_path) == (expected, [f"Left out of {tmp_path} (train): {left}."])
    assert read(tmp_path, "val")[0] == {"b": (30, ["three"])}
    pictures(tmp_path / "loose", "z.png", "b.png")  # files go before members
    assert read(tmp_path, "val")[0] == {"b": (20, ["three"])}


NAME, IN_PIECES = "강아지.png", unicodedata.normalize("NFD", "강아지.png")
TEXTS = {  # by caption file; {} is the picture's name
    "captions.json": '{{"{}": {{"split": "train", "captions": ["x"]}}}}',
    "dataset_flickr8k.json": json.dumps(karpathy(("NAME", "train", ["x"])))
    .replace("{", "{{").replace("}", "}}").replace("NAME", "{}"),
    "captions_train2017.json": '{{"images": [{{"id": 1, "file_name": "{}"}}], "annotations": '
    '[{{"id": 1, "image_id": 1, "caption": "x"}}]}}',
    "Flickr8k.token.txt": "{}#0\tx\n",
    "captions.txt": "image,caption\n{},x\n",
}  # fmt: skip


@pytest.mark.parametrize("file", TEXTS)
@pytest.mark.parametrize(("written", "lying"), [(NAME, IN_PIECES), (IN_PIECES, NAME)])
def test_names_of_every_system_meet(tmp_path, file, written, lying):
    """MacOS keeps letters in pieces, others in one."""
    write(tmp_path / file, TEXTS[file].format(written))
    write(tmp_path / "Flickr_8k.trainImages.txt", f"{lying}\n")
    pictures(tmp_path, lying)
    assert read(tmp_path)[0] == {NAME: (10, ["x"])}


def test_a_split_by_hash_is_the_same_on_every_system(tmp_path):
    names = [f"{number}강.png" for number in range(20)]
    for number, form in enumerate(("NFC", "NFD")):
        rows = [f"{unicodedata.normalize(form, name)},x" for name in names]
        write(tmp_path / str(number) / "captions.txt", "\n".join(["image,caption", *rows]))
        pictures(tmp_path / str(number), *names)
    one, other = (read(tmp_path / folder)[0] for folder in "01")
    assert one == other and len(one) < 20


@pytest.mark.parametrize("code", ["cp949", "utf-8", "cp437"])
def test_archives_that_do_not_tell_the_code_of_their_names(tmp_path, code):
    """Of Korean Windows, of macOS, and by the standard."""
    name = "Müllers.png" if code == "cp437" else NAME
    write(tmp_path / "captions.json", {name: {"split": "train", "captions": ["x"]}})
    stored = (IN_PIECES if code == "utf-8" else name).encode(code)
    plain = f"{'x' * (len(stored) - 4)}.png"  # in its place, so that no flag is set
    archive(tmp_path / "a.zip", plain)
    data = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(data.replace(plain.encode(), stored))
    assert read(tmp_path)[0] == {name: (10, ["x"])}


def test_the_kind_chooses_between_caption_files(tmp_path):
    pictures(tmp_path, "a.png")
    write(tmp_path / "dataset_flickr8k.json", karpathy(("a.png", "train", ["of flickr"])))
    write(tmp_path / "dataset_coco.json", karpathy(("a.png", "train", ["of coco"])))
    assert read(tmp_path, kind="coco")[0] == {"a.png": (10, ["of coco"])}
    assert read(tmp_path)[0] == {"a.png": (10, ["of flickr"])}


# What does not fit


def test_what_has_no_counterpart_is_left_out_in_one_line(tmp_path):
    pictures(tmp_path / "1", "a.png", "b.png", "c.png", "x.png")
    entries = [
        ("a.png", "train", ["fine", " ", ""]),
        ("b.png", "train", [" "]),
        ("gone.png", "train", ["nothing"]),
        ("lost.png", "train", ["nothing"]),
        ("a.png", "test", ["again"]),
        ("c.png", "unknown", ["none"]),
    ]
    write(tmp_path / "dataset_flickr8k.json", karpathy(*entries))
    found, said = read(tmp_path)
    assert found == {"a.png": (10, ["fine"])}
    assert said == [
        f"Left out of {tmp_path} (train): captions of 2 pictures, such as gone.png, not there; "
        f"2 pictures, such as b.png, without captions; 1 picture, such as c.png, of no split; "
        "2 empty captions; 1 entry that stood there before."
    ]


def test_pictures_of_one_name(tmp_path):
    pictures(tmp_path / "1", "a.png")
    pictures(tmp_path / "2", "b.png", "a.png")
    write(tmp_path / "dataset_flickr8k.json", karpathy(("a.png", "train", ["x"])))
    found, said = read(tmp_path)
    assert found == {"a.png": (10, ["x"])}
    assert said[0].startswith("1 picture in ")


def test_broken_pictures(tmp_path):
    names = ["a.png", "b.png", "c.png", "d.png"]
    write(tmp_path / "dataset_flickr8k.json", karpathy(*[(n, "train", [n]) for n in names]))
    pictures(tmp_path, "a.png", "b.png")
    archive(tmp_path / "x.zip", "c.png")
    with zipfile.ZipFile(tmp_path / "x.zip", "a") as opened:
        opened.writestr("d.png", b"no picture")
    (tmp_path / "b.png").write_bytes(encode_image(shade(1))[:40])
    found = load(f"flickr8k:{tmp_path}", "train", 4)
    for broken, name in ((1, "b.png"), (3, f"d.png in {tmp_path / 'x.zip'}")):
        with pytest.raises(UserError, match=f"{name} is not a picture that can be read"):
            found.read(torch.tensor([0, broken]))
    said = Said()
    good = found.checked(said)
    assert good.names == ("a.png", "c.png")
    assert good.captions == [["a.png"], ["c.png"]]
    assert good.read(torch.tensor([1, 0]))[:, 0, 0, 0].tolist() == [10, 10]
    assert len(said) == 1
    assert said[0].startswith("Left out 2 of 4 pictures that cannot be read: ")
    assert good.checked(said) is good
    with pytest.raises(UserError, match="None of the 2 pictures can be read"):
        found.take(torch.tensor([1, 3])).checked(said)


def test_damaged_archives(tmp_path):
    write(tmp_path / "dataset_flickr8k.json", karpathy(("c.png", "train", ["c"])))
    archive(tmp_path / "x.zip", "c.png")
    write(tmp_path / "half.zip", "PK no archive")
    said = Said()
    found = load(f"flickr8k:{tmp_path}", "train", 4, said)
    assert said == [
        f"Left out {tmp_path / 'half.zip'}, which is no zip archive that can be read: "
        "File is not a zip file."
    ]
    data = bytearray((tmp_path / "x.zip").read_bytes())
    data[50] ^= 255
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(UserError, match=r"c\.png in .*x\.zip is not a picture that can be read"):
        found.read(torch.tensor([0]))


def test_members_that_claim_too_much(tmp_path, monkeypatch):
    write(tmp_path / "dataset_flickr8k.json", karpathy(("c.png", "train", ["c"])))
    archive(tmp_path / "x.zip", "c.png")
    monkeypatch.setattr(caption_data, "MAX_BYTES", 10)
    with pytest.raises(UserError, match="is larger than"):
        load(f"flickr8k:{tmp_path}", "train", 4).read(torch.tensor([0]))


def test_links_are_followed_once(tmp_path):
    pictures(tmp_path / "elsewhere", "a.png")
    folder = tmp_path / "data"
    write(folder / "dataset_flickr8k.json", karpathy(("a.png", "train", ["x"])))
    (folder / "Images").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "round").symlink_to(folder)
    assert read(folder) == ({"a.png": (10, ["x"])}, [])


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("mnist:x", "has no captions; give flickr8k:DIR"),
        ("atari:pong", "has no captions"),
        ("flickr8k:nowhere", "There is no folder nowhere"),
        ("flikr8k:x", "Did you mean 'flickr8k'"),
    ],
)
def test_wrong_specs(spec, said):
    with pytest.raises(UserError, match=said):
        load(spec, "train")


def test_no_caption_file(tmp_path):
    pictures(tmp_path, "a.png")
    with pytest.raises(UserError, match=r"no captions in .*one of dataset_flickr8k\.json, "):
        load(f"flickr8k:{tmp_path}", "train")
    with pytest.raises(UserError, match=r"one of dataset_coco\.json, captions_train2017\.json"):
        load(f"coco:{tmp_path}", "train")


def test_captions_without_any_picture(tmp_path):
    write(tmp_path / "dataset_flickr8k.json", karpathy(("a.png", "train", ["x"])))
    with pytest.raises(UserError, match=r"a\.png is not there; put the pictures into that folder"):
        load(f"flickr8k:{tmp_path}", "train", say=Said())
    with pytest.raises(UserError, match="names no pictures of the split 'val'"):
        load(f"flickr8k:{tmp_path}", "val", say=Said())
    pictures(tmp_path, "a.png")
    write(tmp_path / "dataset_flickr8k.json", karpathy(("a.png", "train", [""])))
    with pytest.raises(UserError, match=r"a\.png has no caption"):
        load(f"flickr8k:{tmp_path}", "train", say=Said())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dataset_flickr8k.json", []),
        ("dataset_flickr8k.json", {"images": {}}),
        ("dataset_flickr8k.json", {"images": [1]}),
        ("dataset_flickr8k.json", {"images": [{"filename": "a", "split": 1}]}),
        ("dataset_flickr8k.json", {"images": [{"filename": "a", "split": "val"}]}),
        (
            "dataset_flickr8k.json",
            {"images": [{"filename": "a", "split": "val", "sentences": [{}]}]},
        ),
        ("captions_train2017.json", {"images": []}),
        ("captions_train2017.json", {"images": [{"file_name": "a"}], "annotations": []}),
        ("captions_train2017.json", {"images": [], "annotations": [{"caption": "a", "id": 1}]}),
        ("captions.json", []),
        ("captions.json", {"a": []}),
        ("captions.json", {"a": {"split": "val", "captions": [1]}}),
        ("Flickr8k.token.txt", ""),
        ("Flickr8k.token.txt", "no captions"),
        ("Flickr8k.token.txt", "a.png#0\tx\nno number"),
        ("results.csv", "image_name| comment_number| comment\na.png| none"),
        ("captions.txt", "a,b"),
        ("captions.txt", "image,caption\na.png," + "x" * 200_000),
    ],
)
def test_foreign_caption_files(tmp_path, name, text):
    write(tmp_path / name, text)
    with pytest.raises(UserError, match="is not the caption file that its name says") as raised:
        load(str(tmp_path), "train", say=Said())
    assert str(tmp_path / name) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["dataset_flickr8k.json", "captions_val2017.json", "captions.txt"])
def test_damaged_caption_files(tmp_path, name):
    for data in (b"\xff\xfe\x00[", b'{"images": ['):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=name):
            load(str(tmp_path), "val", say=Said())


# The real one


@pytest.mark.parametrize(("split", "count"), [("train", 6000), ("val", 1000), ("test", 1000)])
def test_flickr8k_itself(data_dir, split, count):
    if not (data_dir / "flickr8k" / "captions.json").is_file():
        pytest.skip(f"there is no flickr8k in {data_dir}")
    said = Said()
    found = load(f"flickr8k:{data_dir / 'flickr8k'}", split, 64, said)
    assert len(found) == count
    assert {len(captions) for captions in found.captions} == {5}
    assert len(said) == 1
    assert "91 pictures" in said[0]
    pixels = found.read(torch.tensor([0, count - 1]))
    assert pixels.shape == (2, 3, 64, 64)
    assert pixels.float().std() > 20
    if split == "train":
        assert found.names[0] == "1000268201_693b08cb0e"
        assert found.captions[0][1] == "A girl going into a wooden building ."
