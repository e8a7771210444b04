"""Turns a finished training into packaged weights: rounds, scores and enters them into the table.

    pip install -e ".[train]"
    gatedpose train gated_hg_1s_68 --data lsp=LSP --data lspet=LSPET --out RUN
    python examples/package_weights.py gated_hg_1s_68 RUN --lsp LSP --lspet LSPET --commit COMMIT

Writes into gatedpose/weights: the safetensors in half precision (batch norm's statistics stay in
float32), the raw validation predictions, and the entry of weights.json. Scores are those of the
rounded file, at 256 px with flip test.
"""

import hashlib
import json
from pathlib import Path

import click
import numpy as np
import torch
from safetensors.torch import load_file, save

import gatedpose
from gatedpose.data.readers import read_dataset
from gatedpose.evaluation.reports import score_facts
from gatedpose.evaluation.run import evaluate
from gatedpose.files import write_whole
from gatedpose.models.weights import WEIGHTS_DIR
from gatedpose.skeleton import LSP14

LICENSE = (
    "research use: trained on LSP and LSP-extended, which their authors published for research "
    "with a request to cite (Johnson & Everingham, BMVC 2010 and CVPR 2011)"
)
DATA = [
    "LSP im0001-im0800 (Johnson & Everingham, BMVC 2010)",
    "LSP-extended without 400 people of lspet-val (Johnson & Everingham, CVPR 2011)",
]


def rounded(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a training in half precision, statistics of batch norm as they are."""
    return {
        key: tensor if "running" in key or not tensor.is_floating_point() else tensor.half()
        for key, tensor in load_file(path).items()
    }


@click.command(help=__doc__)
@click.argument("name")
@click.argument("run", type=Path)
@click.option("--lsp", type=Path, required=True)
@click.option("--lspet", type=Path, required=True)
@click.option("--tag", default="lsp", show_default=True)
@click.option("--commit", required=True, help="Of the code that trained: git rev-parse HEAD.")
@click.option("--note", default="", help="What the recipe does not say of this run.")
def main(name: str, run: Path, lsp: Path, lspet: Path, tag: str, commit: str, note: str) -> None:
    """See the top of the file."""
    full = f"{name}.{tag}"
    data = save(rounded(run / "model" / "model.safetensors"))
    target = WEIGHTS_DIR / f"{full}.safetensors"
    write_whole(target, data)
    model = gatedpose.create_model(name, num_keypoints=14, checkpoint_path=target)
    predictor = gatedpose.Predictor(model, flip_test=True)
    scores, predictions = {}, {}
    for dataset, folder in (("lsp", lsp), ("lspet", lspet)):
        result = evaluate(predictor, read_dataset(dataset, folder, "val"))
        command = f"gatedpose evaluate {full} --dataset {dataset} --data {dataset.upper()}"
        facts = score_facts(result.score, LSP14, {"people": len(result.ids)})
        scores[f"{dataset}-val"] = {**facts, "command": f"{command} --split val"}
        predictions[f"{dataset}_ids"] = np.array(result.ids)
        predictions[f"{dataset}_keypoints"] = result.keypoints.round(2)
        predictions[f"{dataset}_scores"] = result.scores.round(3)
        click.echo(f"{dataset}-val {facts['mean']}")
    np.savez_compressed(WEIGHTS_DIR / f"{full}.predictions.npz", **predictions)
    table = WEIGHTS_DIR / "weights.json"
    entries = json.loads(table.read_text("utf-8")) if table.exists() else {}
    entries[full] = {
        "file": target.name,
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "num_keypoints": 14,
        "skeleton": LSP14.name,
        "hub": None,
        "revision": None,
        "license": LICENSE,
        "data": DATA,
        "recipe": {
            **json.loads((run / "recipe.json").read_text("utf-8")),
            "commit": commit,
            "note": note,
        },
        "scores": scores,
    }
    write_whole(table, json.dumps(entries, indent=1) + "\n")


if __name__ == "__main__":
    main()
