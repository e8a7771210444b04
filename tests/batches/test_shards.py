"""Shards against the crops that they are packed from, and against every way to damage them."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors import safe_open

from gatedpose.batches import shards as shards_module
from gatedpose.batches.crops import pack
from gatedpose.batches.packs import JpegImages, read_pack, write_pack
from gatedpose.batches.shards import holds_shards, load_shards, pack_shards
from gatedpose.cli import main
from gatedpose.data.samples import Sample
from gatedpose.errors import DatasetError, ImageError, InputError
from gatedpose.skeleton import Skeleton

TRIO = Skeleton("trio", ("right a", "left a", "b"), flip_pairs=((0, 1),), limbs=((0, 2), (2, 1)))
SIZE = 48
ALL = torch.arange(5)


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
    pack_shards(samples, "own", "train", tmp_path / "shards", size=SIZE, shard_bytes=6_000)
    return tmp_path / "shards"


def rewrite(path: Path, **about: object) -> None:
    """Puts other facts into a shard, with the right sum."""
    facts, tensors = read_pack(path, {})
    write_pack(path, {**facts, **about}, {name: t.clone() for name, t in tensors.items()})


# Round trip


def test_what_is_packed_is_loaded(folder: Path, samples: list[Sample]) -> None:
    names = [f"train-0000{i}.safetensors" for i in range(3)]
    assert sorted(path.name for path in folder.iterdir()) == names
    crops, skeleton = load_shards(folder, "train", "own")
    right = pack(samples, SIZE)
    assert skeleton == TRIO
    assert crops.ids == ("own/0", "own/1", "own/2", "own/3", "own/4")
    assert torch.equal(crops.keypoints, right.keypoints)
    assert torch.equal(crops.labelled, right.labelled)
    assert crops.labelled.tolist()[:2] == [[True, True, True], [True, False, False]]
    assert crops.absent.nonzero().tolist() == [[1, 2], [4, 2]]
    assert crops.images.shape == (5, 3, SIZE, SIZE)
    assert torch.equal(crops.images[ALL], right.images[ALL])
    few = crops.take(torch.tensor([3, 1]))
    assert (few.ids, few.images.shape) == (("own/3", "own/1"), (2, 3, SIZE, SIZE))
    assert torch.equal(few.to(torch.device("cpu")).images, right.images[torch.tensor([3, 1])])
    # The square of twice the box's longer side about its centre becomes the crop.
    for person, points in zip(samples, crops.keypoints, strict=True):
        low, high = person.box[:2].astype(float), person.box[2:].astype(float)
        middle, side = (low + high) / 2, 2 * (high - low).max()
        expected = (person.keypoints - middle) * SIZE / side + SIZE / 2
        np.testing.assert_allclose(points, expected, atol=1e-4)


def test_pictures_stay_coded(folder: Path) -> None:
    """In memory is what lies on the disk, a small part of the pixels."""
    for people in (
        load_shards(folder, "train", "own")[0],
        load_shards(folder, "train", "own")[0].take(ALL),
    ):
        assert isinstance(people.images, JpegImages)
        held = sum(file.nbytes for file in people.images.files)
        assert held < sum(path.stat().st_size for path in folder.iterdir())
        assert held < 5 * 3 * SIZE * SIZE / 2


def test_every_shard_says_what_it_holds(folder: Path) -> None:
    firsts = []
    for path in sorted(folder.iterdir()):
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["about"])
        assert path.stat().st_size <= 6_000
        assert Skeleton.from_dict(facts.pop("skeleton")) == TRIO
        assert len(facts.pop("sha256")) == len(facts.pop("annotations")) == 64
        firsts.append((facts.pop("people before"), facts.pop("ids")))
        assert facts == {
            "format": "gatedpose shards", "version": 2, "dataset": "own", "split": "train",
            "people": 5, "size": SIZE, "margin": 2.0, "quality": 95,
        }  # fmt: skip
    assert firsts == [(0, ["own/0", "own/1"]), (2, ["own/2", "own/3"]), (4, ["own/4"])]


def test_the_same_people_give_the_same_bytes(
    folder: Path, samples: list[Sample], tmp_path: Path
) -> None:
    again = tmp_path / "again"
    files = pack_shards(samples, "own", "train", str(again), size=SIZE, shard_bytes=6_000)
    assert files == [again / path.name for path in sorted(folder.iterdir())]
    for path in folder.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize("limit", [7_000, 9_000, 11_000, 2**20])
def test_shards_are_as_large_as_allowed(limit: int, samples: list[Sample], tmp_path: Path) -> None:
    people = [replace(one, id=f'é"{one.id}') for one in samples for _ in range(6)]
    files = pack_shards(people, "own", "train", tmp_path, size=SIZE, shard_bytes=limit)
    lengths = [file.stat().st_size for file in files]
    assert max(lengths) <= limit
    assert sum(lengths) / len(lengths) > limit / 2 or len(files) == 1
    assert load_shards(tmp_path, "train", "own")[0].ids == tuple(one.id for one in people)


def test_a_person_is_never_split(samples: list[Sample], tmp_path: Path) -> None:
    assert len(pack_shards(samples, "own", "train", tmp_path, size=SIZE, shard_bytes=1)) == 5


def test_quality_and_size_are_kept(samples: list[Sample], tmp_path: Path) -> None:
    for quality in (30, 95):
        pack_shards(samples, "own", f"q{quality}", tmp_path, size=33, quality=quality)
    poor, good = (load_shards(tmp_path, split, "own")[0] for split in ("q30", "q95"))
    assert poor.images.shape == good.images.shape == (5, 3, 33, 33)
    right = pack(samples, 33).images[ALL].int()
    errors = [(crops.images[ALL].int() - right).abs().float().mean() for crops in (poor, good)]
    assert errors[0] > errors[1] == 0
    small = good.shrunk(10)  # decoded at a half, of 33 pixels 17
    assert small.images.shape == (5, 3, 17, 17)
    assert small.images[ALL].shape == (5, 3, 17, 17)
    assert torch.equal(small.keypoints * 2, good.keypoints)


def test_two_splits_share_a_folder(folder: Path, samples: list[Sample]) -> None:
    pack_shards(samples[3:], "own", "val", folder, size=SIZE)
    pack_shards(samples[:1], "own", "train-few", folder, size=SIZE)
    assert load_shards(folder, "val", "own")[0].ids == ("own/3", "own/4")
    assert len(load_shards(folder, "train", "own")[0]) == 5
    assert len(load_shards(folder, "train-few", "own")[0]) == 1


def test_shards_are_recognised(folder: Path, tmp_path: Path) -> None:
    assert holds_shards(folder)
    assert holds_shards(str(folder))
    other = tmp_path / "other"
    assert not holds_shards(other)
    other.mkdir()
    (other / "train.json").write_text('{"images": [], "annotations": []}')
    (other / "own-train.safetensors").touch()
    assert not holds_shards(other)


# What cannot be packed


def test_a_split_is_not_packed_twice(folder: Path, samples: list[Sample]) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    text = r"shards already holds train-00000\.safetensors: remove train-\*\.safetensors, or"
    with pytest.raises(DatasetError, match=text):
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


def test_an_image_that_cannot_be_read_leaves_nothing(samples: list[Sample], tmp_path: Path) -> None:
    samples[4].image.write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"4\.png"):
        pack_shards(samples, "own", "train", tmp_path / "out", size=SIZE, shard_bytes=6_000)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk_leaves_nothing(
    samples: list[Sample], tmp_path: Path, full_disk: Callable[..., None]
) -> None:
    def pack_into(name: str) -> list[int]:
        pack_shards(people, "own", "train", tmp_path / name, size=SIZE, shard_bytes=1)
        return [path.stat().st_size for path in sorted((tmp_path / name).glob("*.safetensors"))]

    people = [*samples, draw_sample(tmp_path, 9, noise=100)]
    *small, large = pack_into("free")
    assert max(small) < large
    full_disk(large - 1)
    with pytest.raises(OSError, match=r"cannot write .*train-00005\.safetensors: "):
        pack_into("full")
    full_disk()
    assert list((tmp_path / "full").iterdir()) == []
    pack_into("full")
    assert len(load_shards(tmp_path / "full", "train", "own")[0]) == 6


def test_what_is_stopped_leaves_nothing(
    samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(path: Path, *args: Any) -> None:
        if path.name == "train-00002.safetensors":
            assert len(list(path.parent.glob("*.safetensors"))) == 2
            raise KeyboardInterrupt
        write_pack(path, *args)

    monkeypatch.setattr(shards_module, "write_pack", write)
    with pytest.raises(KeyboardInterrupt):
        pack_shards(samples, "own", "train", tmp_path / "out", size=SIZE, shard_bytes=6_000)
    assert list((tmp_path / "out").iterdir()) == []


# What cannot be loaded


def test_what_is_there_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"val-00000\.\w+ is missing, there: train-00000.*, tr"):
        load_shards(folder, "val", "own")
    with pytest.raises(DatasetError, match=r"absent/train-00000\.\w+ is missing, there: none$"):
        load_shards(tmp_path / "absent", "train", "own")


def alter(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (Path.unlink, "is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "is damaged .*: copy it again, or"),
        (lambda path: path.write_bytes(b""), "is damaged .*: copy it again, or"),
        (lambda path: path.write_bytes(b"404: not found" * 1000), "is damaged .*: copy it again"),
        (alter, r"is damaged \(its sha256 is another\): copy it"),
    ],
    ids=["missing", "truncated", "empty", "no pack", "altered"],
)
@pytest.mark.parametrize("number", [0, 1, 2])
def test_damaged_shards_are_named(
    damage: Callable[[Path], object], text: str, number: int, folder: Path
) -> None:
    damage(folder / f"train-0000{number}.safetensors")
    with pytest.raises(DatasetError, match=rf"shards/train-0000{number}\.safetensors {text}"):
        load_shards(folder, "train", "own")


@pytest.mark.parametrize("what", ["size", "joint", "fewer", "length", "order"])
def test_shards_of_two_packings_are_not_mixed(
    what: str, folder: Path, samples: list[Sample], tmp_path: Path
) -> None:
    moved = replace(samples[3], keypoints=samples[3].keypoints + 0.1)
    people = {"joint": [*samples[:3], moved, samples[4]], "fewer": samples[1:]}.get(what, samples)
    size, room = (32 if what == "size" else SIZE), (4_800 if what == "length" else 6_000)
    other = pack_shards(people, "own", "train", tmp_path / "b", size=size, shard_bytes=room)
    source = folder / "train-00000.safetensors" if what == "order" else other[1]
    (folder / "train-00001.safetensors").write_bytes(source.read_bytes())
    key = "people before, [01] and not 2" if what in ("length", "order") else "annotations, "
    with pytest.raises(
        DatasetError, match=rf"train-00001\.safetensors was packed from other {key}"
    ):
        load_shards(folder, "train", "own")


def test_shards_of_another_dataset(folder: Path) -> None:
    with pytest.raises(
        DatasetError,
        match=r"train-00000\.\w+ was packed as 'own', not 'own:b': give it as --data own=\S+, or "
        "pack it by gatedpose data pack --dataset own:b$",
    ):
        load_shards(folder, "train", "own:b")


@pytest.mark.parametrize(
    ("about", "text"),
    [
        ({"format": "other"}, "from other format, 'other' and not 'gatedpose shards'"),
        ({"version": 3}, "from other version, 3 and not 2"),
        ({"margin": 1.5}, r"from other margin, 1\.5 and not 2\.0"),
        ({"people": 6}, "-00003.safetensors is missing"),
        ({"people": "many"}, "is no shard: "),
        ({"skeleton": []}, "is no shard: no skeleton"),
    ],
)
def test_other_facts_are_named(about: dict[str, Any], text: str, folder: Path) -> None:
    for path in folder.iterdir():
        rewrite(path, **about)
    with pytest.raises(DatasetError, match=rf"shards/train.*{text}"):
        load_shards(folder, "train", "own")


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
    assert f"gatedpose train NAME --recipe finetune --data own={out} --out run" in text
    train, skeleton = load_shards(out, "train", "own")
    assert train.images.shape == (4, 3, 320, 320)
    assert train.ids == tuple(f"own/{i}/{i}" for i in range(4))
    assert skeleton == TRIO
    assert len(load_shards(out, "val", "own")[0]) == 1


def test_command_packs_nobody_twice(kites: Path, tmp_path: Path) -> None:
    """One of the four pictures is kept for validation, as where training reads the folder."""
    (kites / "val.json").unlink()
    assert "own train: 3 people" in run("--data", kites, "--out", tmp_path)
    train, val = (set(load_shards(tmp_path, split, "own")[0].ids) for split in ("train", "val"))
    assert train | val == {f"own/{i}/{i}" for i in range(4)}
    assert not train & val
    alone = tmp_path / "alone"
    told = run("--data", kites, "--out", alone, "--split", "train")
    assert set(load_shards(alone, "train", "own")[0].ids) == train
    assert f"train NAME --recipe finetune --data own={alone}" in told


def test_command_obeys_its_options(kites: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for path in (kites / "images").iterdir():  # noise, that a shard of one MB holds two people
        Image.fromarray(rng.integers(0, 256, (60, 90, 3), dtype=np.uint8)).save(path)
    options = ("--size", 960, "--quality", 100, "--shard-mb", 1, "--split", "train", "--json")
    [line] = run("--data", kites, "--out", tmp_path / "out", *options).splitlines()
    told = json.loads(line)
    shards = sorted((tmp_path / "out").iterdir())
    assert told == {
        "dataset": "own", "split": "train", "people": 4, "shards": len(shards),
        "bytes": sum(path.stat().st_size for path in shards), "files": list(map(str, shards)),
    }  # fmt: skip
    assert len(shards) > 1
    for path in shards:
        assert path.stat().st_size <= 2**20
        read_pack(path, {"split": "train", "size": 960, "quality": 100})


def test_command_tells_errors_in_a_line(kites: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    data = ("--data", kites, "--split", "train")
    assert "has the splits train, val, not 'test'" in run(
        *data, "--split", "test", "--out", out, code=1
    )
    assert not out.exists()  # though train could have been packed
    run(*data, "--out", out, "--size", 32)
    assert "already holds train-00000" in run(*data, "--out", out, code=1)
    assert "already holds train-00000" in run("--split", "val", *data, "--out", out, code=1)
    assert not list(out.glob("val*"))
    assert "is what is read" in run(*data, "--out", kites, code=2)
    assert "--quality" in run(*data, "--out", out, "--quality", 101, code=2)
