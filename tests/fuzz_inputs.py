"""Inputs of each kind, mutated; what `tests/fuzz.py` tries."""

import copy
import gzip
import io
import itertools
import json
import random
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from click.testing import CliRunner
from PIL import Image

import gatedpose
from gatedpose.batches.corrections import load_corrections
from gatedpose.batches.crops import Crops
from gatedpose.batches.packs import read_pack, write_pack
from gatedpose.batches.pictures import read_labelled
from gatedpose.batches.shards import load_shards, pack_shards
from gatedpose.cli import main as command_line
from gatedpose.data.boxes import read_boxes
from gatedpose.data.readers import read_dataset
from gatedpose.data.samples import Sample
from gatedpose.errors import GatedPoseError
from gatedpose.evaluation.coco_results import load_results, score_results
from gatedpose.evaluation.predictions import load_predictions
from gatedpose.export import export
from gatedpose.media.images import read_image
from gatedpose.media.video import VideoWriter, read_video
from gatedpose.models.saved import save_model
from gatedpose.predict.exported import ExportedNetwork
from gatedpose.skeleton import COCO17, LSP14
from gatedpose.training.devices import make_accelerator
from gatedpose.training.log import Journal
from gatedpose.training.recipes import RECIPES, Phase, Recipe, find_recipe
from gatedpose.training.trainer import Trainer

Case = Callable[[random.Random, Path], tuple[str, Callable[[], bool]]]
NASTY = [
    None, True, False, 0, -1, 1, 2, 3.5, -0.5, 1e-30, 3e38, 1e300, -1e300, float("nan"),
    float("inf"), 2**31, 2**63, 10**30, 10**400, 4096, "", "x", "0", "nan", "../x", "\x00",
    "é" * 300,
    [], [None], [[]], [1, 2], ["x"], [0.0] * 3, [float("nan")] * 3, {}, {"x": 1}, {"": {"": []}},
]  # fmt: skip


def mutated(value: Any, draw: random.Random) -> Any:
    """A copy of what JSON holds with a few nodes replaced, removed or doubled."""
    value = copy.deepcopy(value)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        places = list(nodes(value))
        if not places:
            break
        parent, key = draw.choice(places)
        act = draw.random()
        if act < 0.15:
            del parent[key]
        elif act < 0.25 and isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        else:
            parent[key] = copy.deepcopy(draw.choice(NASTY))
    return value


def nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a tree, as container and key."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from nodes(value[key])


def damaged(data: bytes, draw: random.Random) -> bytes:
    """A copy with some bytes changed, cut off or put in."""
    found = bytearray(data)
    for _ in range(draw.choice((1, 2, 8, 64))):
        found[draw.randrange(len(found))] = draw.randrange(256)
    if draw.random() < 0.3:
        del found[draw.randrange(len(found)) :]
    if draw.random() < 0.1:
        place = draw.randrange(len(found) + 1)
        found[place:place] = draw.randbytes(50)
    return bytes(found)


def text(tree: Any, draw: random.Random) -> bytes:
    """JSON of a mutated tree, now and then damaged, too."""
    written = json.dumps(mutated(tree, draw)).encode()
    return damaged(written, draw) if draw.random() < 0.15 else written


def finite(values: Any) -> bool:
    """Whether all numbers are."""
    return bool(np.isfinite(np.asarray(values, dtype=np.float64)).all())


def config(draw: random.Random, folder: Path) -> tuple[str, Callable[[], bool]]:
    place = folder / "model"
    if not place.exists():
        save_model(gatedpose.create_model("gated_hg_1s_68", num_keypoints=14), place, LSP14)
        (folder / "config.json").write_bytes((place / "config.json").read_bytes())
    data = text(json.loads((folder / "config.json").read_text()), draw)
    (place / "config.json").write_bytes(data)

    def good() -> bool:
        model = gatedpose.create_model(f"local-dir:{place}", pretrained=True)
        predictor = gatedpose.Predictor(model, skeleton=LSP14)
        return finite(predictor.mean) and finite(1 / predictor.std) and model.num_keypoints == 14

    return repr(data[:3000]), good


def weights(draw: random.Random, folder: Path) -> tuple[str, Callable[[], bool]]:
    place = folder / "w"
    if not place.exists():
        save_model(gatedpose.create_model("gated_hg_1s_68", num_keypoints=14), place, LSP14)
        (folder / "w.bin").write_bytes((place / "model.safetensors").read_bytes())
    data = bytearray((folder / "w.bin").read_bytes())
    head = 8 + int.from_bytes(data[:8], "little")
    if draw.random() < 0.5:  # the header, else a number among the weights
        data[:head] = damaged(bytes(data[:head]), draw)
    else:
        spot = head + 4 * draw.randrange((len(data) - head) // 4)
        data[spot : spot + 4] = np.float32(draw.choice((np.nan, np.inf, -np.inf))).tobytes()
    (place / "model.safetensors").write_bytes(bytes(data))

    def good() -> bool:
        model = gatedpose.create_model(f"local-dir:{place}", pretrained=True)
        return all(bool(t.isfinite().all()) for t in model.state_dict().values())

    return f"{len(data)} bytes", good


def table(draw: random.Random, folder: Path) -> tuple[str, Callable[[], bool]]:
    joints = ["left knee", "right knee", "nose"]
    tree = {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 40, "height": 30} for n in (1, 2)],
        "categories": [{"id": 1, "name": "person", "keypoints": joints, "skeleton": [[1, 3]]}],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1, "iscrowd": 0, "bbox": [2, 3, 20, 25],
             "keypoints": [5, 6, 2, 15, 16, 1, 10, 8, 2], "num_keypoints": 3, "area": 400}
            for n in (1, 2)
        ],
    }  # fmt: skip
    data = text(tree, draw)
    (folder / "images").mkdir(exist_ok=True)
    for n in (1, 2):
        if not (folder / "images" / f"{n}.png").exists():
            Image.new("RGB", (40, 30)).save(folder / "images" / f"{n}.png")
    (folder / "train.json").write_bytes(data)

    def good() -> bool:
        people = read_dataset("own", folder, "train")
        boxes = np.stack([person.box for person in people])
        points = np.concatenate([person.keypoints[person.labelled] for person in people])
        return finite(points) and finite(boxes) and bool((boxes[:, 2:] > boxes[:, :2]).all())

    return repr(data), good


def recipe(draw: random.Random, folder: Path) -> tuple[str, Callable[[], bool]]:
    data = text(asdict(RECIPES[draw.choice(list(RECIPES))]), draw)
    (folder / "recipe.json").write_bytes(data)

    def good() -> bool:
        found = find_recipe(str(folder / "recipe.json"))
        numbers = [found.lr, found.weight_decay, found.ema, found.keep, found.whole]
        numbers += [found.clip or 1, found.epochs or 1, *found.datasets.values()]
        numbers += [number for pair in found.drops for number in pair]
        numbers += [phase.sigma for phase in found.phases]
        return finite(numbers) and min(numbers) >= 0 and 0 <= found.augmentation.flip <= 1

    return repr(data), good


def predictions(draw: random.Random, folder: Path) -> tuple[str, Callable[[], bool]]:
    people = [type("Person", (), {"id": f"p{n}", "skeleton": LSP14})() for n in range(4)]
    points = np.arange(4 * 14 * 2, dtype=np.float32).reshape(4, 14, 2)
    ids = [person.id for person in people]
    if draw.random() < 0.5:
        path = folder / "p.json"
        data = text({"keypoints": points.tolist(), "ids": ids}, draw)
    else:
        path, buffer = folder / draw.choice(("p.npz", "p.npy")), io.BytesIO()
        if path.suffix == ".npz":
            points[draw.randrange(4), 0, 0] = draw.choice((np.nan, np.inf, 1.0))
            np.savez_compressed(buffer, keypoints=points, ids=np.array(ids))
        else:
            np.save(buffer, points)
        data = damaged(buffer.getvalue(), draw)
    path.write_bytes(data)

    def good() -> bool:
        found = load_predictions(path, people)  # type: ignore[arg-type]
        return found.shape == (4, 14, 2) and finite(found)

    return f"{path.suffix} {data[:600]!r}", good


def boxes(draw: random.Random, folder: Path) -> tuple[str, Callable[[], bool]]:
    plain = {"a.jpg": [[1, 2, 30, 40]], "b.jpg": []}
    row = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.9}
    coco = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"id": 1, **row}]}
    data = text(draw.choice((plain, [row, row], coco)), draw)
    (folder / "boxes.json").write_bytes(data)

    def good() -> bool:
        found = read_boxes(folder / "boxes.json").by_image
        return all(finite(boxes) for boxes in found.values())

    return repr(data), good


def corrections(draw: random.Random, folder: Path) -> tuple[str, Callable[[], bool]]:
    data = text({"swapped": ["a", "b"], "dropped": {"a": ["nose"]}, "about": {"by": "x"}}, draw)
    (folder / "corrections.json").write_bytes(data)
    return repr(data), lambda: load_corrections(folder / "corrections.json") is not None


def image(draw: random.Random, folder: Path) -> tuple[str, Callable[[], bool]]:
    kind = draw.choice(("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"))
    pixels, buffer = np.frombuffer(draw.randbytes(40 * 50 * 3), np.uint8), io.BytesIO()
    Image.fromarray(pixels.reshape(40, 50, 3)).save(buffer, kind)
    path = folder / "image.jpg"
    path.write_bytes(damaged(buffer.getvalue(), draw))

    def good() -> bool:
        found = read_image(path)
        return found.dtype == torch.uint8 and found.shape[0] == 3 and found.shape[1] >= 2

    return kind, good


def option(draw: random.Random, folder: Path) -> tuple[str, Callable[[], bool]]:
    """A number of a command, out of its range: must be refused before anything is done."""
    if not NUMERIC:
        NUMERIC.extend(all_numbers(command_line))
    name, found = draw.choice(NUMERIC)
    low = ("-1e9", "-0.5") if getattr(found.type, "min", None) is not None else ()
    value = draw.choice(("nan", "inf", "-inf", "x", "", "1e999", "9" * 400, "0x1", *low))
    arguments = [*name.split(), f"{found.opts[0]}={value}"]
    return refused([*arguments, *NEEDED.get(name, [])])


def word(draw: random.Random, folder: Path) -> tuple[str, Callable[[], bool]]:
    """A word of a command that is none: sizes, devices, phases, boxes, fields, datasets."""
    start, key = draw.choice(WORDS)
    odd = ("", "-64x64", "0x64", "64", "axb", "64x64x64", "9" * 400, "nan,1,2,3", "1,2,3", "é", "=",
           "1e-30,0,1e-30,0", "own=", "lr=nan", "lr=-1", "phases=[]", "{", "cuda:99", "meta",
           "\x00", "64,1,0,1", "64,8,4,inf", "augmentation.flip=5", "drops=[[0.5,-1]]")  # fmt: skip
    return refused([*start.split(), f"{key}={draw.choice(odd)}"])


WORDS = [
    ("info gated_hg_1s_68", "--size"), ("predict --demo", "--device"), ("predict --demo", "--box"),
    ("recipe lsp", "--set"), ("evaluate gated_hg_1s_68.lsp --data /nowhere", "--dataset"),
    ("export gated_hg_1s_68 --fresh", "--size"), ("research bench gated_hg_1s_68", "--size"),
    ("train gated_hg_1s_68 --out /nowhere/x --data own=/nowhere", "--phase"),
    ("train gated_hg_1s_68 --out /nowhere/x", "--data"),
    ("finder train --out /nowhere/x", "--phase"), ("push gated_hg_1s_68.lsp", "--repo"),
]  # fmt: skip
NEEDED = {"info": ["gated_hg_1s_68"], "predict": ["--demo"]}
NUMERIC: list[tuple[str, click.Option]] = []


def refused(arguments: list[str]) -> tuple[str, Callable[[], bool]]:
    """A command line that must be refused in our words."""

    def good() -> bool:
        result = CliRunner().invoke(command_line, arguments)
        if "That is a bug" in result.output or not isinstance(result.exception, SystemExit | None):
            raise RuntimeError(result.output) from result.exception
        if result.exit_code:
            raise GatedPoseError(result.output)
        return False

    return " ".join(arguments)[:200], good


def all_numbers(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Option]]:
    """Every option that takes a number, with its command's full name."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from all_numbers(command, f"{prefix}{name} ")
        for option in command.params if command else ():
            if isinstance(option.type, click.IntRange | click.FloatRange):
                yield prefix + name, option  # type: ignore[misc]


TINY = Recipe("tiny", {}, (Phase(64, 8, 4, 1.0),), warmup=1, calibrate=0)


def trainer(folder: Path) -> Trainer:
    """Of four people in noise; goes on with what the folder holds."""
    torch.manual_seed(0)
    model = gatedpose.create_model("gated_hg_1s_68", width=8, depth=2, num_keypoints=14)
    images = torch.randint(0, 256, (4, 3, 104, 104), dtype=torch.uint8)
    people = Crops(images, 20 + 60 * torch.rand(4, 14, 2), torch.ones(4, 14, dtype=torch.bool))
    return Trainer(
        make_accelerator("no"), model, people, torch.ones(4), people, LSP14, TINY, folder
    )


def checkpoint(draw: random.Random, folder: Path) -> tuple[str, Callable[[], bool]]:
    path, kept = folder / "last.pt", folder / "kept.pt"
    if not kept.exists():
        made = trainer(folder)
        made.step(next(made.batches()))
        made._save()
        path.rename(kept)
    data = kept.read_bytes()
    data = draw.choice((b"", damaged(data, draw), data[: draw.randrange(len(data))]))
    path.write_bytes(data)

    def good() -> bool:
        found = trainer(folder)
        weights = [*found.model.state_dict().values(), *found.ema.module.state_dict().values()]
        numbers = [*found.losses, *found.best, found.progress.step, found.progress.images]
        kinds = all(type(number) in (int, float) for number in numbers)
        return kinds and finite(numbers) and all(bool(t.isfinite().all()) for t in weights)

    return f"{len(data)} bytes", good


def log(draw: random.Random, folder: Path) -> tuple[str, Callable[[], bool]]:
    rows = ["time,size,images,step,share,lr,loss,val_pck_no_flip"]
    rows += [f"10:00:0{n},64,{n * 8},{n * 2},0.{n},0.001,0.5,{n}.25" for n in range(1, 4)]
    data = damaged("\n".join(rows).encode(), draw)
    (folder / "log.csv").write_bytes(data)

    def good() -> bool:
        look = dict.fromkeys(rows[0].split(","), 9)
        with Journal(folder, 8, Trainer.score) as journal:
            journal.look(look, torch.zeros(3, 8, 8, dtype=torch.uint8))
        return True

    return repr(data), good


def shards(draw: random.Random, folder: Path) -> tuple[str, Callable[[], bool]]:
    """A shard that is damaged, or tells something else, with the right sum."""
    path, kept = folder / "train-00000.safetensors", folder / "kept" / "train-00000.safetensors"
    if not kept.exists():
        Image.new("RGB", (40, 30)).save(folder / "a.png")
        points, box = np.full((14, 2), 12, np.float32), np.array([2, 3, 22, 28], np.float32)
        flags = np.ones(14, bool)
        person = Sample("p0", folder / "a.png", points, flags, box, LSP14)
        pack_shards([person, replace(person, id="p1")], "lsp", "train", kept.parent, size=32)
    about, tensors = read_pack(kept, {})
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    act = draw.random()
    if act < 0.5:
        about = mutated(about, draw)
    with suppress(GatedPoseError):  # what JSON does not hold
        write_pack(path, about, tensors)
    if act >= 0.5:
        path.write_bytes(damaged(kept.read_bytes(), draw))

    def good() -> bool:
        crops, skeleton = load_shards(folder, "train", "lsp")
        pictures = crops.to(torch.device("cpu")).images
        seen = finite(crops.keypoints[crops.labelled]) and bool(skeleton.joints)
        return seen and len(crops) == len(pictures) == 2

    return f"{act} {about} {tensors}", good


def bomb(draw: random.Random, folder: Path) -> tuple[str, Callable[[], bool]]:
    """Little that unpacks to much, or claims to."""
    people = [type("Person", (), {"id": f"p{n}", "skeleton": LSP14})() for n in range(4)]
    kind = draw.choice(("npz", "gz", "png", "webp", "claim"))
    path = folder / {"npz": "p.npz", "gz": "p.json.gz", "claim": "p.npy"}.get(kind, f"p.{kind}")
    if kind == "npz":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("keypoints.npy", bytes(draw.choice((10**7, 10**8))))
    elif kind == "gz":
        path.write_bytes(gzip.compress(b"[" + b" " * draw.choice((10**7, 10**8)) + b"]"))
    elif kind == "claim":
        np.save(path, np.zeros((4, 14, 2)))
        data = path.read_bytes().replace(b"(4, 14, 2)", b"(4000000, 14, 2)")
        path.write_bytes(data)
    elif kind == "png":
        side = draw.randrange(8_001, 9_000)
        Image.new("1", (side, side)).save(path)
    elif not path.exists():
        Image.new("RGB", (8_100, 8_100)).save(path, method=0)

    def good() -> bool:
        read_image(path) if kind in ("png", "webp") else load_predictions(path, people)  # type: ignore[arg-type]
        return False

    return f"{kind} {path.stat().st_size}", good


def video(draw: random.Random, folder: Path) -> tuple[str, Callable[[], bool]]:
    suffix = draw.choice((".mp4", ".avi", ".webm"))
    kept = folder / f"kept{suffix}"
    if not kept.exists():
        with VideoWriter(kept, 25) as writer:
            for n in range(6):
                writer.write(torch.full((3, 48, 64), 40 * n, dtype=torch.uint8))
    path = folder / f"film{suffix}"
    path.write_bytes(damaged(kept.read_bytes(), draw))

    def good() -> bool:
        before = -1.0
        for time, picture in itertools.islice(read_video(path), 60):
            if not (before < time < float("inf")) or picture.dtype != torch.uint8:
                return False
            before = time
        return True

    return suffix, good


def exported(draw: random.Random, folder: Path) -> tuple[str, Callable[[], bool]]:
    import onnx

    path, kept = folder / "a.onnx", folder / "kept.onnx"
    if not kept.exists():
        model = gatedpose.create_model("gated_hg_1s_68", width=8, depth=2, num_keypoints=14)
        export(model.eval(), kept, skeleton=LSP14, size=(64, 64))
    file = onnx.load(kept)
    [note] = file.metadata_props
    note.value = text(json.loads(note.value), draw).decode(errors="replace")
    path.write_bytes(file.SerializeToString())

    def good() -> bool:
        predictor = gatedpose.Predictor(ExportedNetwork(path))
        [pose] = predictor(torch.zeros(3, 40, 50, dtype=torch.uint8), "whole")
        return finite(pose.keypoints) and finite(pose.scores)

    return note.value[:600], good


def results(draw: random.Random, folder: Path) -> tuple[str, Callable[[], bool]]:
    row = {"image_id": 1, "category_id": 1, "keypoints": [5.0, 6.0, 0.5] * 17, "score": 0.9}
    data = text([row, row], draw)
    (folder / "results.json").write_bytes(data)
    truth = folder / "truth.json"
    person = {"id": 1, "image_id": 1, "category_id": 1, "keypoints": [5, 6, 2] * 17}
    categories = [{"id": 1, "name": "person", "keypoints": list(COCO17.joints)}]
    images = [{"id": 1, "file_name": "a.jpg"}]
    tables = {"images": images, "annotations": [person], "categories": categories}
    truth.write_text(json.dumps(tables))

    def good() -> bool:
        return 0 <= score_results(truth, load_results(folder / "results.json")).mean <= 100

    return repr(data), good


def yolo(draw: random.Random, folder: Path) -> tuple[str, Callable[[], bool]]:
    place = folder / "train"
    for name in ("images", "labels"):
        (place / name).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30)).save(place / "images" / "a.png")
    rows = [["0", "0.5", "0.5", "0.2", "0.4"], ["0", "0.1", "0.1", "0.9", "0.1", "0.5", "0.9"]]
    row = draw.choice(rows)
    row[draw.randrange(1, len(row))] = draw.choice(("nan", "inf", "-3", "1e300", "x", "", "7"))
    (place / "labels" / "a.txt").write_text("\n".join(map(" ".join, rows)))

    def good() -> bool:
        [found] = read_labelled(folder, "train")
        return finite(found.boxes) and bool((found.boxes.abs() <= 2).all())

    return str(rows), good


KINDS: dict[str, Case] = {
    "config.json": config, "weights": weights, "last.pt": checkpoint, "log.csv": log,
    "COCO tables": table, "results": results, "recipe.json": recipe, "predictions": predictions,
    "boxes": boxes, "corrections": corrections, "shards": shards, "YOLO labels": yolo,
    "exported": exported, "images": image, "video": video, "bombs": bomb, "options": option,
    "words": word,
}  # fmt: skip
