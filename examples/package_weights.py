r"""Turns a finished training into packaged weights: rounds, scores and enters them into the table.

    pip install -e ".[train]"
    gatedpose train gated_hg_1s_68 --data lsp=LSP --data lspet=LSPET --out RUN
    python examples/package_weights.py gated_hg_1s_68 RUN --tag lsp --commit COMMIT \
        --val lsp-val=lsp:LSP --val lspet-val=lspet:LSPET

For everyday people, with a calibration fitted on people who are not scored:

    python examples/package_weights.py gated_hg_1s_68 RUN --tag people --commit COMMIT \
        --val people-val=own:PEOPLE/stanford40 --val lsp-val=lsp:LSP \
        --val lspet19-val=own:PEOPLE/lspet \
        --calibrate PEOPLE/sports22 --calibrate PEOPLE/ccp --calibrate PEOPLE/yoga5

To score packaged weights anew, when the way from photo to keypoints has changed, write "again" in
place of RUN and leave out `--commit`. File and recipe stay; only with `--packed` the convolutions
are rounded to ten bits.

Writes into gatedpose/weights: the safetensors in half precision (batch norm's statistics stay in
float32; with `--packed` convolutions are in ten bits), the raw validation predictions, and the
entry of weights.json. Scores are those of the rounded file, at 256 px with flip test, by PyTorch
or, with `--engine openvino`, by float32 code whose heatmaps are the same to 1e-3.
"""

import hashlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import click
import numpy as np
import torch
from chances import fit_calibration, known_joints
from safetensors.torch import load_file, save

import gatedpose
from gatedpose.catalogue import WEIGHTS_DIR
from gatedpose.data.readers import read_dataset
from gatedpose.device import keep_freed_memory
from gatedpose.evaluation.reports import score_facts
from gatedpose.evaluation.run import evaluate
from gatedpose.files.whole import write_whole
from gatedpose.models.calibration import Calibration
from gatedpose.models.saved import skeleton_of
from gatedpose.models.weights import HIGH, LOW, SCALE
from gatedpose.skeleton import SKELETONS

AGAIN = Path("again")
BITS = 10  # of packed weights
LICENSE = (
    "research use: trained on LSP and LSP-extended, which their authors published for research "
    "with a request to cite (Johnson & Everingham, BMVC 2010 and CVPR 2011)"
)
PEOPLE_LICENSE = (
    "research use: trained on photographs that others collected from the web for research "
    "(Stanford 40 Actions, Clothing Co-Parsing, yoga poses, 22 sports, LSP, LSP-extended, Human "
    "Action Recognition, 100 sports) and on Human Dataset v2, CC BY 4.0"
)
DATA = [
    "LSP im0001-im0800 (Johnson & Everingham, BMVC 2010)",
    "LSP-extended without 400 people of lspet-val (Johnson & Everingham, CVPR 2011)",
]
PHOTOS = [
    "Stanford 40 Actions, 8,292 people (Yao et al., ICCV 2011)",
    "22 sports, 8,522 people (public repository jurjsorinliviu/Sports-Type-Classifier)",
    "Clothing Co-Parsing, 1,881 people (Yang et al., CVPR 2014)",
    "five yoga poses, 906 people (public repository "
    "saahil1801/Yoga-Pose-Estimation-using-Transfer-Learning)",
]
PEOPLE_DATA = [
    *PHOTOS,
    "Human Dataset v2, 9,898 people (public repository brianhuster/human-dataset, CC BY 4.0)",
    "Human Action Recognition, 12,049 people (public repository "
    "umareddy123/Human_activity_recognition)",
    "100 sports, 9,384 people (public repository Vigneshraj15/SportsActivityDetection)",
    *DATA,
    "labels of 19 joints by this project, from MoveNet Thunder's predictions where they agree with "
    "a second prediction; LSP's own joints are its own",
]


def rounded(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a training in half precision, statistics of batch norm as they are."""
    return {
        key: tensor if "running" in key or not tensor.is_floating_point() else tensor.half()
        for key, tensor in load_file(path).items()
    }


def pack(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors with each convolution's weights in ten bits, for files that a wheel could not hold.

    Weights (O, I, H, W) become whole numbers of ten bits times a scale (O), as in eight-bit
    weights, with a sixteenth of their error. A number's low and high byte lie in two tensors: the
    high bytes have few values, which the zip of a wheel packs to little more than two bits each.
    The rest stays as it is. `gatedpose.models.weights.unpack` undoes it, but for the rounding.
    """
    packed = {}
    for key, tensor in tensors.items():
        if tensor.ndim != 4 or not tensor.is_floating_point():  # whole numbers are packed already
            packed[key] = tensor
            continue
        weight = tensor.float()
        scale = weight.abs().amax((1, 2, 3)).clamp_min(1e-12) / (2 ** (BITS - 1) - 1)
        whole = (weight / scale[:, None, None, None]).round().to(torch.int16)
        packed[key + LOW] = (whole & 255).to(torch.uint8)
        packed[key + HIGH] = (whole >> 8).to(torch.int8)
        packed[key + SCALE] = scale
    return packed


def file_facts(target: Path, data: bytes) -> dict[str, Any]:
    """What the table says of a file of weights."""
    return {"file": target.name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def packaged(run: Path, tag: str, file: dict[str, Any]) -> dict[str, Any]:
    """What the table says of a training and of its file."""
    trained = gatedpose.create_model(f"local-dir:{run / 'model'}", pretrained=True)
    skeleton = skeleton_of(trained)
    assert skeleton is not None
    return {
        **file,
        "num_keypoints": skeleton.num_keypoints,
        "skeleton": skeleton.name,
        "hub": None,
        "revision": None,
        "license": PEOPLE_LICENSE if tag == "people" else LICENSE,
        "data": PEOPLE_DATA if tag == "people" else DATA,
        "recipe": json.loads((run / "recipe.json").read_text("utf-8")),
    }


def parse(text: str) -> tuple[str, str, Path]:
    """SPLIT=DATASET:FOLDER."""
    split, _, place = text.partition("=")
    dataset, _, folder = place.partition(":")
    if not (split and dataset and folder):
        raise click.BadParameter(f"{text!r} is not SPLIT=DATASET:FOLDER")
    return split, dataset, Path(folder)


@click.command(help=__doc__)
@click.argument("name")
@click.argument("run", type=Path)
@click.option("--val", "vals", multiple=True, required=True, metavar="SPLIT=DATASET:FOLDER")
@click.option("--calibrate", multiple=True, type=Path, help="Folders of dataset own, split val.")
@click.option("--tag", default="people", show_default=True)
@click.option("--commit", help="Of the code that trained: git rev-parse HEAD.")
@click.option("--packed", is_flag=True, help="In ten bits: for what is large for the wheel.")
@click.option("--engine", type=click.Choice(["openvino"]), help="Scores in a third of the time.")
@click.option("--note", default="", help="What the recipe does not say of this run.")
def main(
    name: str,
    run: Path,
    vals: tuple[str, ...],
    calibrate: tuple[Path, ...],
    tag: str,
    commit: str | None,
    packed: bool,
    engine: Literal["openvino"] | None,
    note: str,
) -> None:
    """See the top of the file."""
    keep_freed_memory()
    full, places = f"{name}.{tag}", [parse(text) for text in vals]
    target = WEIGHTS_DIR / f"{full}.safetensors"
    table = WEIGHTS_DIR / "weights.json"
    entries = json.loads(table.read_text("utf-8")) if table.exists() else {}
    if run == AGAIN:
        entry, data = entries[full], target.read_bytes()
        if packed:
            data = save(pack(load_file(target)))
            entry |= file_facts(target, data)
            entry["recipe"]["note"] += "; convolutions rounded to ten bits afterwards"
    elif commit is None:
        raise click.UsageError("--commit says which code has trained the weights")
    else:
        tensors = rounded(run / "model" / "model.safetensors")
        data = save(pack(tensors) if packed else tensors)
        entry = packaged(run, tag, file_facts(target, data))
        entry["recipe"] |= {"commit": commit, "note": note}
    skeleton = SKELETONS[entry["skeleton"]]
    joints = skeleton.num_keypoints
    with TemporaryDirectory() as there:  # the weights stay as they are until all is scored
        (file := Path(there) / target.name).write_bytes(data)
        model = gatedpose.create_model(name, num_keypoints=joints, checkpoint_path=file)
    fast = gatedpose.optimize(model, engine=engine, precision="float32") if engine else model
    predictor = gatedpose.Predictor(fast, skeleton, flip_test=True)
    if calibrate:
        people = [read_dataset("own", folder, "val") for folder in calibrate]
        known = [known_joints(evaluate(predictor, part), part) for part in people]
        peaks, right = (np.concatenate([part[i] for part in known]) for i in (0, 1))
        entry["calibration"] = vars(fit_calibration(peaks, right))
    if told := entry.get("calibration"):
        predictor.calibration = Calibration(**told)
    scores: dict[str, Any] = {}
    predictions: dict[str, Any] = {}
    for split, dataset, folder in places:
        samples = read_dataset(dataset, folder, "val")
        result = evaluate(predictor, samples)
        called = "LSPET19" if "lspet19" in split else folder.name.upper()
        command = f"gatedpose evaluate {full} --dataset {dataset} --data {called}"
        facts = score_facts(result.score, samples[0].skeleton, {"people": len(result.ids)})
        scores[split] = {**facts, "command": f"{command} --split val"}
        short = split.removesuffix("-val")
        predictions[f"{short}_ids"] = np.array(result.ids)
        predictions[f"{short}_keypoints"] = result.keypoints.round(2)
        predictions[f"{short}_scores"] = result.scores.round(3)
        click.echo(f"{split} {facts['mean']} {facts['columns']}")
    write_whole(target, data)
    np.savez_compressed(WEIGHTS_DIR / f"{full}.predictions.npz", **predictions)
    entries[full] = {**entry, "scores": scores}
    # The first of a variant is its default: .lsp, of the paper's comparison, comes last.
    entries = dict(sorted(entries.items(), key=lambda item: item[0].endswith(".lsp")))
    write_whole(table, json.dumps(entries, indent=1) + "\n")


if __name__ == "__main__":
    main()
