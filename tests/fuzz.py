"""Mutated files and options, each of which must be read well or refused in our own words.

    python tests/fuzz.py --count 300 --seed 0

prints for each kind of input how many were tried, how many were refused by a named error, and, to
be 0: raw tracebacks, hangs, and nonsense that was accepted. Ends with 1 if one of them is not 0.
"""

import copy
import io
import json
import random
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from click.testing import CliRunner
from PIL import Image

import gatedpose
from gatedpose.cli import main as command_line
from gatedpose.data.boxes import read_boxes
from gatedpose.data.corrections import load_corrections
from gatedpose.data.readers import read_dataset
from gatedpose.errors import GatedPoseError
from gatedpose.evaluation.predictions import load_predictions
from gatedpose.media.images import read_image
from gatedpose.models.saved import save_model
from gatedpose.skeleton import LSP14
from gatedpose.training.recipes import RECIPES, find_recipe

NASTY = [
    None, True, False, 0, -1, 1, 2, 3.5, -0.5, 1e-30, 3e38, 1e300, -1e300, float("nan"),
    float("inf"), 2**31, 2**63, 10**30, 10**400, 4096, "", "x", "0", "nan", "../x", "\x00",
    "é" * 300,
    [], [None], [[]], [1, 2], ["x"], [0.0] * 3, [float("nan")] * 3, {}, {"x": 1}, {"": {"": []}},
]  # fmt: skip
SECONDS = 30  # of the processor, after which an input counts as a hang
Case = Callable[[random.Random, Path], tuple[str, Callable[[], bool]]]


class Hang(BaseException):
    """An input that took too long."""


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
    from dataclasses import asdict

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
    name, command = draw.choice(NUMERIC)
    found = draw.choice([p for p in command.params if is_number(p)])
    low = ("-1e9", "-0.5") if getattr(found.type, "min", None) is not None else ()
    value = draw.choice(("nan", "inf", "-inf", "x", "", "1e999", "9" * 400, "0x1", *low))
    needed = {"info": ["gated_hg_1s_68"], "demo": [], "predict": ["--demo"]}.get(name, [])
    arguments = [*name.split(), *needed, f"{found.opts[0]}={value}"]

    def good() -> bool:
        result = CliRunner().invoke(command_line, arguments)
        if "That is a bug" in result.output or isinstance(result.exception, ValueError):
            raise RuntimeError(result.output)
        if result.exit_code:
            raise GatedPoseError(result.output)
        return False

    return " ".join(arguments)[:200], good


def is_number(parameter: click.Parameter) -> bool:
    """Whether an option takes a number."""
    kinds = (click.IntRange, click.FloatRange)
    return isinstance(parameter, click.Option) and isinstance(parameter.type, kinds)


def all_commands(group: Any, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command with its full name."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from all_commands(command, f"{prefix}{name} ")
        else:
            yield prefix + name, command


NUMERIC = [(n, c) for n, c in all_commands(command_line) if any(map(is_number, c.params))]
LAST: list[str] = []  # tracebacks
KINDS: dict[str, Case] = {
    "config.json": config, "weights": weights, "COCO tables": table, "recipe.json": recipe,
    "predictions": predictions, "boxes": boxes, "corrections": corrections, "images": image,
    "options": option,
}  # fmt: skip


def alarm(*_: object) -> None:
    raise Hang


def outcome(good: Callable[[], bool]) -> str:
    """What becomes of one input."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # a busy machine is no hang
    try:
        return "read" if good() else "nonsense"
    except GatedPoseError:
        return "named"
    except Hang:
        return "hang"
    except Exception:
        LAST.append(traceback.format_exc())
        return "raw"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


@click.command()
@click.option("--count", type=click.IntRange(1), default=300, show_default=True, help="A kind.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--kind", "kinds", multiple=True, type=click.Choice(list(KINDS)))
@click.option("--show", is_flag=True, help="Print what fails.")
def main(count: int, seed: int, kinds: tuple[str, ...], show: bool) -> None:
    """Tries mutated inputs of each kind."""
    signal.signal(signal.SIGPROF, alarm)
    warnings.simplefilter("ignore")
    total: Counter[str] = Counter()
    for name in kinds or KINDS:
        counts: Counter[str] = Counter()
        draw = random.Random(f"{seed} {name}")
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(count):
                what, good = KINDS[name](draw, Path(folder))
                found = outcome(good)
                counts[found] += 1
                if show and found in ("raw", "hang", "nonsense"):
                    click.echo(f"{found}: {name}: {what}\n{LAST.pop() if found == 'raw' else ''}")
        total += counts
        click.echo(line(name, counts))
    click.echo(line("all", total))
    sys.exit(bool(total["raw"] + total["hang"] + total["nonsense"]))


def line(name: str, counts: Counter[str]) -> str:
    """A row of the table."""
    columns = ("named", "read", "raw", "hang", "nonsense")
    found = ", ".join(f"{counts[column]} {column}" for column in columns)
    return f"{name:12} {counts.total():5} tried: {found}"


if __name__ == "__main__":
    main()
