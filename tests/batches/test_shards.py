"""Shards against the crops that they are packed from, and against every way to damage them."""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from gatedpose.batches import shards as shards_module
from gatedpose.batches.crops import pack
from gatedpose.batches.shards import holds_shards, load_shards, pack_shards
from gatedpose.cli import main
from gatedpose.data.samples import Sample
from gatedpose.errors import DatasetError, ImageError, InputError
from gatedpose.files.whole import write_whole
from gatedpose.skeleton import Skeleton

TRIO = Skeleton("trio", ("right a", "left a", "b"), flip_pairs=((0, 1),), limbs=((0, 2), (2, 1)))
SIZE = 48


def draw_sample(folder: Path, number: int, noise: int = 0) -> Sample:
    """A person on a picture of 60 x 90: a smooth slope of colours, with noise if asked for."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:60, :90]
    slope = np.stack((2 * x + 40, 3 * y + 30, 20 * number + 0 * x), axis=2)
    pixels = slope + rng.integers(-noise, noise + 1, slope.shape)
    path = folder / f"{number}.png"
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    joints = rng.uniform(5, 55, (3, 2)).astype(np.float32)
    box = np.array([*joints.min(axis=0), *joints.max(axis=0)], np.float32)
    labelled = np.array([True, number % 2 == 0, number % 3 == 0])
    absent = np.array([False, False, number % 3 == 1])
    return Sample(f"own/{number}", path, joints, labelled, box, TRIO, absent=absent)


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Five people of three joints."""
    (tmp_path / "pictures").mkdir()
    return [draw_sample(tmp_path / "pictures", number) for number in range(5)]


@pytest.fixture
def folder(samples: list[Sample], tmp_path: Path) -> Path:
    """The five in three shards of a split called train."""
    pack_shards(samples, "own", "train", tmp_path / "shards", size=SIZE, shard_bytes=10_000)
    return tmp_path / "shards"


def read_table(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "train.json").read_text("utf-8"))


def change_table(folder: Path, **values: object) -> None:
    (folder / "train.json").write_text(json.dumps({**read_table(folder), **values}), "utf-8")


def change_member(folder: Path, name: str, data: bytes | None) -> None:
    """Replaces a file in the second shard, or leaves it out, and makes the table agree."""
    path = folder / "train-00001.tar"
    with tarfile.open(path) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar}
    assert name in files
    with tarfile.open(path, "w") as tar:
        for member, content in {**files, name: data}.items():
            if content is not None:
                info = tarfile.TarInfo(member)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    agree(folder)


def agree(folder: Path) -> None:
    """Makes the table's lengths and sums those of the shards."""
    shards = read_table(folder)["shards"]
    for shard in shards:
        data = (folder / shard["name"]).read_bytes()
        shard |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    change_table(folder, shards=shards)


# Round trip


def test_what_is_packed_is_loaded(folder: Path, samples: list[Sample]) -> None:
    names = [f"train-0000{i}.tar" for i in range(3)]
    assert sorted(path.name for path in folder.iterdir()) == [*names, "train.json"]
    crops, skeleton = load_shards(folder, "train")
    right = pack(samples, SIZE)
    assert skeleton == TRIO
    assert crops.ids == ("own/0", "own/1", "own/2", "own/3", "own/4")
    assert torch.equal(crops.keypoints, right.keypoints)
    assert torch.equal(crops.labelled, right.labelled)
    assert crops.labelled.tolist()[:2] == [[True, True, True], [True, False, False]]
    assert crops.absent.nonzero().tolist() == [[1, 2], [4, 2]]
    assert crops.images.shape == (5, 3, SIZE, SIZE)
    assert crops.images.dtype == torch.uint8
    pictures = right.images[torch.arange(5)].int()
    error = (crops.images.int() - pictures).abs().float()
    assert error.mean(dim=(1, 2, 3)).max() < 2
    others = (crops.images.int() - pictures.roll(1, 0)).abs().float()
    assert others.mean(dim=(1, 2, 3)).min() > 5  # so that people who change places would be seen


def test_the_table_says_what_the_shards_hold(folder: Path) -> None:
    table = read_table(folder)
    shards = table.pop("shards")
    skeleton = table.pop("skeleton")
    assert Skeleton.from_dict(skeleton) == TRIO
    assert skeleton == json.loads(json.dumps(asdict(TRIO)))
    assert table == {
        "format": "gatedpose shards", "version": 1, "dataset": "own", "split": "train",
        "people": 5, "size": SIZE, "margin": 2.0, "quality": 95,
    }  # fmt: skip
    assert [shard["people"] for shard in shards] == [2, 2, 1]
    for shard in shards:
        data = (folder / shard["name"]).read_bytes()
        assert shard["bytes"] == len(data) <= 10_000
        assert shard["sha256"] == hashlib.sha256(data).hexdigest()


def test_other_tools_read_the_shards(folder: Path, samples: list[Sample], tmp_path: Path) -> None:
    listed = subprocess.run(
        ["tar", "-xvf", folder / "train-00001.tar", "-C", tmp_path],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert not listed.stderr
    assert listed.stdout.split() == [
        f"0000000{i}.{kind}" for i in (2, 3) for kind in ("jpg", "json")
    ]
    with Image.open(tmp_path / "00000003.jpg") as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (SIZE, SIZE))
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3  # 4:4:4
    facts = json.loads((tmp_path / "00000003.json").read_text("utf-8"))
    assert list(facts) == ["id", "keypoints", "labelled"]
    assert facts["id"] == "own/3"
    assert facts["labelled"] == [True, False, True]
    # The square of twice the box's longer side about its centre becomes the crop.
    person = samples[3]
    low, high = person.box[:2].astype(float), person.box[2:].astype(float)
    side = 2 * (high - low).max()
    right = (person.keypoints - (low + high) / 2) * SIZE / side + SIZE / 2
    np.testing.assert_allclose(facts["keypoints"], right, atol=1e-4)


def test_the_same_people_give_the_same_bytes(
    folder: Path, samples: list[Sample], tmp_path: Path
) -> None:
    again = tmp_path / "again"
    table = pack_shards(samples, "own", "train", str(again), size=SIZE, shard_bytes=10_000)
    assert table == again / "train.json"
    for path in folder.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_shards_are_as_large_as_allowed(samples: list[Sample], tmp_path: Path) -> None:
    def lengths(name: str, limit: int) -> list[int]:
        pack_shards(samples, "own", "train", tmp_path / name, size=SIZE, shard_bytes=limit)
        return [path.stat().st_size for path in sorted((tmp_path / name).glob("*.tar"))]

    [whole] = lengths("default", 60 * 2**20)
    assert lengths("just", whole) == [whole]
    parts = lengths("less", whole - 1)
    assert len(parts) == 2
    assert sum(parts) == whole + 1024  # the end of a tar stands once more
    assert len(lengths("tiny", 1)) == 5  # a person is never split


def test_quality_and_size_are_kept(samples: list[Sample], tmp_path: Path) -> None:
    for quality in (30, 95):
        pack_shards(samples, "own", f"q{quality}", tmp_path, size=32, quality=quality)
    poor, good = (load_shards(tmp_path, split)[0].images for split in ("q30", "q95"))
    assert poor.shape == good.shape == (5, 3, 32, 32)
    right = pack(samples, 32).images[torch.arange(5)].int()
    errors = [(images.int() - right).abs().float().mean() for images in (poor, good)]
    assert errors[0] > 2 * errors[1]


def test_two_splits_share_a_folder(folder: Path, samples: list[Sample]) -> None:
    pack_shards(samples[3:], "own", "val", folder, size=SIZE)
    assert load_shards(folder, "val")[0].ids == ("own/3", "own/4")
    assert len(load_shards(folder, "train")[0]) == 5


def test_shards_are_recognised(folder: Path, tmp_path: Path) -> None:
    assert holds_shards(folder)
    assert holds_shards(str(folder))
    other = tmp_path / "other"
    assert not holds_shards(other)
    other.mkdir()
    assert not holds_shards(other)
    (other / "train.json").write_text('{"images": [], "annotations": []}')
    (other / "val.json").write_text("")
    (other / "folder.json").mkdir()
    assert not holds_shards(other)
    (other / "more.json").write_text(json.dumps(read_table(folder)))  # however it is laid out
    assert holds_shards(other)


# What cannot be packed


def test_a_split_is_not_packed_twice(folder: Path, samples: list[Sample]) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(DatasetError, match=r"shards already holds 'train': remove train\.json and"):
        pack_shards(samples[:1], "own", "train", folder, size=SIZE)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_two_programs_do_not_pack_into_one_folder(samples: list[Sample], tmp_path: Path) -> None:
    holds = "import sys, time; from gatedpose.files.whole import held; from pathlib import Path\n"
    holds += "with held(Path(sys.argv[1]), 'x'): print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", holds, str(tmp_path / ".train.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match="another program packs 'train' into"):
            pack_shards(samples, "own", "train", tmp_path, size=SIZE)
        assert sorted(p.name for p in tmp_path.iterdir()) == [".train.lock", "pictures"]
        other.communicate()
    pack_shards(samples, "own", "train", tmp_path, size=SIZE)
    assert not (tmp_path / ".train.lock").exists()


@pytest.mark.parametrize("name", ["train.json", "train-00007.tar"])
def test_files_of_others_are_left_alone(name: str, samples: list[Sample], tmp_path: Path) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(DatasetError, match=f"holds {name}, which packing would replace"):
        pack_shards(samples, "own", "train", tmp_path, size=SIZE)
    assert (tmp_path / name).read_text() == "{}"
    pack_shards(samples, "own", "rain", tmp_path, size=SIZE)
    assert len(load_shards(tmp_path, "rain")[0]) == 5


def test_an_image_that_cannot_be_read_leaves_nothing(samples: list[Sample], tmp_path: Path) -> None:
    samples[4].image.write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"4\.png"):
        pack_shards(samples, "own", "train", tmp_path / "out", size=SIZE, shard_bytes=10_000)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk_leaves_nothing(
    samples: list[Sample], tmp_path: Path, full_disk: Callable[..., None]
) -> None:
    def pack_into(name: str) -> list[int]:
        pack_shards(people, "own", "train", tmp_path / name, size=SIZE, shard_bytes=1)
        return [path.stat().st_size for path in sorted((tmp_path / name).glob("*.tar"))]

    people = [*samples, draw_sample(tmp_path, 9, noise=100)]
    *small, large = pack_into("free")
    assert max(small) < large
    full_disk(large - 1)
    with pytest.raises(OSError, match=r"cannot write .*train-00005\.tar: "):
        pack_into("full")
    full_disk()
    assert list((tmp_path / "full").iterdir()) == []
    pack_into("full")
    assert len(load_shards(tmp_path / "full", "train")[0]) == 6


def test_without_its_table_a_split_is_not_left(
    samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(path: Path, data: bytes | str) -> None:
        if path.suffix == ".json":
            assert len(list(path.parent.glob("*.tar"))) == 3  # it comes last
            raise KeyboardInterrupt
        write_whole(path, data)

    monkeypatch.setattr(shards_module, "write_whole", write)
    with pytest.raises(KeyboardInterrupt):
        pack_shards(samples, "own", "train", tmp_path / "out", size=SIZE, shard_bytes=10_000)
    assert list((tmp_path / "out").iterdir()) == []


# What cannot be loaded


def test_splits_that_are_there_are_named(folder: Path, tmp_path: Path) -> None:
    (folder / "other.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"holds no val\.json; packed splits there: train$"):
        load_shards(folder, "val")
    with pytest.raises(DatasetError, match=r"absent holds no train\.json; .* there: none$"):
        load_shards(tmp_path / "absent", "train")


def alter(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (Path.unlink, "is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), r"has \d+ bytes and not \d+: copy"),
        (alter, "was altered"),
    ],
    ids=["missing", "truncated", "altered"],
)
def test_damaged_shards_are_named(
    damage: Callable[[Path], object], text: str, folder: Path
) -> None:
    damage(folder / "train-00001.tar")
    with pytest.raises(DatasetError, match=rf"shards/train-00001\.tar {text}"):
        load_shards(folder, "train")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"format": "other"}, r"field 'format': must be one of \('gatedpose shards',\)"),
        ({"version": 2}, r"field 'version': must be one of \(1,\), got 2"),
        ({"margin": 1.5}, r"field 'margin': must be one of \(2.0,\), got 1.5"),
        ({"people": 6}, "field 'people': is 6, but the shards have 5"),
        ({"people": True}, "field 'people': must be a whole number from 1 .*got True"),
        ({"size": 0}, "field 'size': must be a whole number from 1 .*got 0"),
        ({"size": 32}, r"tar, 00000000\.jpg has shape \(3, 48, 48\) and not \(3, 32, 32\)"),
        ({"size": 10**6}, "field 'size': must be a whole number from 1 to 4096"),
        ({"skeleton": {"name": "trio"}}, "field 'skeleton': no skeleton"),
        ({"skeleton": {**asdict(TRIO), "joints": ["a", "b"]}}, "field 'skeleton': .* must index 2"),
        ({"shards": {}}, "'shards' must be a list"),
        ({"shards": [{"people": 5, "bytes": 1, "name": "../x.tar"}]}, "field 'name'"),
        ({"shards": [{"people": 5, "bytes": 1}]}, r"shards\[0\], field 'name': is missing"),
    ],
)
def test_a_table_of_other_values(values: dict[str, Any], text: str, folder: Path) -> None:
    change_table(folder, **values)
    with pytest.raises(DatasetError, match=rf"shards/train.*{text}"):
        load_shards(folder, "train")


def test_a_million_people_ask_for_no_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = read_table(folder)["shards"]
    shards[0]["people"] += 10**6
    change_table(folder, people=10**6 + 5, shards=shards)
    monkeypatch.setattr(torch, "empty", lambda *sides, **_: pytest.fail(f"asked for {sides}"))
    text = r"shards\[0\], field 'people': is more than a file of that length can hold"
    with pytest.raises(DatasetError, match=text):
        load_shards(folder, "train")


@pytest.mark.parametrize(
    ("content", "text"),
    [("{", "cannot be read as JSON"), ("", "cannot be read as JSON"), ("[]", "got list")],
)
def test_a_table_that_is_none(content: str, text: str, folder: Path) -> None:
    (folder / "train.json").write_text(content)
    with pytest.raises(DatasetError, match=rf"train\.json.*{text}"):
        load_shards(folder, "train")


def facts(**values: object) -> bytes:
    points = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    right = {"id": "own/2", "keypoints": points, "labelled": [True, False, True]}
    return json.dumps({**right, **values}).encode()


def test_facts_can_be_replaced(folder: Path) -> None:
    change_member(folder, "00000002.json", facts())  # what the errors below start from
    crops, _ = load_shards(folder, "train")
    assert crops.keypoints[2].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert crops.labelled[2].tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("kind", "data", "text"),
    [
        ("jpg", b"no picture", r"00000002\.jpg cannot be read"),
        ("jpg", b"", r"00000002\.jpg cannot be read"),
        ("jpg", None, r"lacks or should not hold 00000002\.jpg$"),
        ("json", None, r"lacks or should not hold 00000002\.json$"),
        ("json", b"{", r"00000002\.json cannot be read as JSON"),
        ("json", b"[]", "00000002: must hold named fields, got list"),
        ("json", facts(keypoints=[[1, 2], [3, float("nan")], [5, 6]]), "'keypoints': .*not finite"),
        ("json", facts(keypoints=[[1, 2], [3, 4]]), r"must have shape \(3, 2\), got \(2, 2\)"),
        ("json", facts(labelled=[True, False]), "field 'labelled': must be 3 times true or false"),
        ("json", facts(labelled=[True, False, 0.5]), "field 'labelled': must be 3 times"),
        ("json", b'{"keypoints": [[1, 2], [3, 4], [5, 6]], "id": "a"}', "'labelled': is missing"),
        ("json", facts(absent=[False, True]), "field 'absent': must be 3 times true or false"),
        ("json", facts(absent=[False, True, True]), "'absent': has joints that are labelled, too"),
    ],
)
def test_damaged_members_are_named(kind: str, data: bytes | None, text: str, folder: Path) -> None:
    change_member(folder, f"00000002.{kind}", data)
    with pytest.raises(DatasetError, match=rf"shards/train-00001\.tar.* {text}"):
        load_shards(folder, "train")


def test_a_cut_picture_is_named(folder: Path) -> None:
    with tarfile.open(folder / "train-00001.tar") as tar:
        whole = tar.extractfile("00000003.jpg").read()
    change_member(folder, "00000003.jpg", whole[: len(whole) * 2 // 3])
    with pytest.raises(DatasetError, match=r"00000003\.jpg cannot be read: .*truncated"):
        load_shards(folder, "train")


def test_a_picture_of_another_format_is_named(folder: Path) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (SIZE, SIZE)).save(picture, "PNG")
    change_member(folder, "00000003.jpg", picture.getvalue())
    with pytest.raises(DatasetError, match=r"00000003\.jpg cannot be read"):
        load_shards(folder, "train")


def test_a_shard_that_is_no_tar(folder: Path) -> None:
    (folder / "train-00001.tar").write_bytes(b"404: not found" * 1000)
    agree(folder)
    with pytest.raises(DatasetError, match=r"train-00001\.tar is no tar file"):
        load_shards(folder, "train")


def test_shards_in_another_order(folder: Path) -> None:
    shards = read_table(folder)["shards"]
    change_table(folder, shards=[shards[1], shards[0], shards[2]])
    with pytest.raises(DatasetError, match=r"train-00001\.tar lacks or should not hold 00000000"):
        load_shards(folder, "train")


def test_shards_with_more_than_the_table_says(folder: Path) -> None:
    shards = read_table(folder)["shards"]
    change_table(folder, people=4, shards=[shards[0], {**shards[1], "people": 1}, shards[2]])
    with pytest.raises(DatasetError, match=r"train-00001\.tar lacks or should not hold 00000003"):
        load_shards(folder, "train")


# Command


@pytest.fixture
def kites(samples: list[Sample], tmp_path: Path) -> Path:
    """The five as a dataset of the user's own: four to train on, and one."""
    folder = tmp_path / "kites"
    folder.mkdir()
    (tmp_path / "pictures").rename(folder / "images")
    category = {"id": 1, "name": "trio", "keypoints": TRIO.joints, "skeleton": [[1, 3], [3, 2]]}
    for split, people in (("train", samples[:4]), ("val", samples[4:])):
        table: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": [category]}
        for i, person in enumerate(people):
            table["images"].append({"id": i, "file_name": person.image.name})
            keypoints = [value for point in person.keypoints.tolist() for value in (*point, 2)]
            table["annotations"].append(
                {"id": i, "image_id": i, "category_id": 1, "keypoints": keypoints}
            )
        (folder / f"{split}.json").write_text(json.dumps(table))
    return folder


def run(*arguments: object, code: int = 0) -> str:
    words = ["data", "pack", "--dataset", "own", *map(str, arguments)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.stdout if code == 0 else result.output


def test_command_packs_both_splits(kites: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "shards"
    text = run("--data", kites, "--out", out)
    assert "own train: 4 people in 1 shard, 0.1 MB" in text
    assert "own val: 1 people in 1 shard, 0.0 MB" in text
    assert f"gatedpose train NAME --data own={out} --out run" in text
    train, skeleton = load_shards(out, "train")
    assert train.images.shape == (4, 3, 320, 320)
    assert train.ids == tuple(f"own/{i}/{i}" for i in range(4))
    assert skeleton == TRIO
    assert len(load_shards(out, "val")[0]) == 1


def test_command_packs_nobody_twice(kites: Path, tmp_path: Path) -> None:
    """One of the four pictures is kept for validation, as where training reads the folder."""
    (kites / "val.json").unlink()
    assert "own train: 3 people" in run("--data", kites, "--out", tmp_path)
    train, val = (set(load_shards(tmp_path, split)[0].ids) for split in ("train", "val"))
    assert train | val == {f"own/{i}/{i}" for i in range(4)}
    assert not train & val


def test_command_obeys_its_options(kites: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for path in (kites / "images").iterdir():  # noise, that a shard of one MB holds two people
        Image.fromarray(rng.integers(0, 256, (60, 90, 3), dtype=np.uint8)).save(path)
    options = ("--size", 960, "--quality", 100, "--shard-mb", 1, "--split", "train", "--json")
    [line] = run("--data", kites, "--out", tmp_path / "out", *options).splitlines()
    told = json.loads(line)
    shards = sorted((tmp_path / "out").glob("*.tar"))
    assert told == {
        "dataset": "own", "split": "train", "people": 4, "shards": len(shards),
        "bytes": sum(path.stat().st_size for path in shards),
        "table": str(tmp_path / "out" / "train.json"),
    }  # fmt: skip
    assert len(shards) > 1
    table = read_table(tmp_path / "out")
    assert (table["size"], table["quality"]) == (960, 100)
    assert not (tmp_path / "out" / "val.json").exists()


def test_command_tells_errors_in_a_line(kites: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    data = ("--data", kites, "--split", "train")
    assert "has the splits train, val, not 'test'" in run(
        *data, "--split", "test", "--out", out, code=1
    )
    assert not out.exists()  # though train could have been packed
    run(*data, "--out", out, "--size", 32)
    assert "already holds 'train'" in run(*data, "--out", out, code=1)
    assert "already holds 'train'" in run("--split", "val", *data, "--out", out, code=1)
    assert not list(out.glob("val*"))
    assert "which packing would replace" in run(*data, "--out", kites, code=1)
    assert len(json.loads((kites / "train.json").read_text())["images"]) == 4
    assert "--quality" in run(*data, "--out", out, "--quality", 101, code=2)
