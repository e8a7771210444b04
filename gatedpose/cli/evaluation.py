"""`gatedpose evaluate`: scores of a model, or of predictions made elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import gatedpose
from gatedpose.catalogue import AVERAGINGS, DATASETS
from gatedpose.cli.commands import notes_for_json
from gatedpose.cli.options import (
    FILE,
    LARGEST_SIDE,
    POSITIVE,
    RESULTS,
    Fast,
    Number,
    best_device,
    check_apart,
    check_replaced,
    check_unused,
    check_writable,
    decoder_option,
    device_option,
    fast_option,
    json_option,
    make_ready,
    pixels_option,
)
from gatedpose.files.typed_json import to_json

if TYPE_CHECKING:
    from gatedpose.evaluation.metrics import Score
    from gatedpose.skeleton import Skeleton

BATCH = 32  # people at once
# Options that predictions made elsewhere have no use for.
OF_NETWORKS = (
    "flip", "decoder", "size", "weights", "device", "fast", "engine", "precision", "save",
)  # fmt: skip

# And those that an exported file has none for.
OF_PYTORCH = ("size", "weights", "fast", "engine", "precision")


@click.command()
@click.argument("name", required=False)
@click.option("--dataset", default="lsp", show_default=True, help=", ".join(DATASETS))
@click.option("--data", type=Path, required=True, help="Folder of the dataset.")
@click.option("--split", default="val", show_default=True)
@click.option(
    "--predictions", type=FILE,
    help="Score this .npz, .npy, .json or .mat instead; for coco, its results (.json).",
)  # fmt: skip
@click.option(
    "--shift", type=Number(-9, 9), help="Added to predictions' x and y. [-0.5 for .mat, else 0]"
)
@click.option("--threshold", type=POSITIVE, help="Share of the normaliser. [PCKh 0.5, PCK 0.2]")
@click.option(
    "--averaging", type=click.Choice(AVERAGINGS), default="hrnet", show_default=True,
    help="How PCKh is averaged.",
)  # fmt: skip
@click.option("--flip/--no-flip", default=True, show_default=True, help="Mirror, and average.")
@decoder_option
@click.option(
    "--size", type=click.IntRange(1, LARGEST_SIDE),
    help="Side of the input in pixels. [the model's own]",
)  # fmt: skip
@click.option(
    "--weights", type=FILE, help="Weights to score in the model NAME, a .safetensors file."
)
@device_option
@fast_option
@pixels_option
@click.option("--save", type=Path, help="Write the predictions: .npz; .json for coco.")
@json_option
def evaluate(
    name: str | None,
    dataset: str,
    data: Path,
    split: str,
    predictions: Path | None,
    shift: float | None,
    save: Path | None,
    as_json: bool,
    threshold: float | None,
    averaging: Any,
    weights: Path | None,
    **network: Any,
) -> None:
    """Scores the model NAME, or --predictions made elsewhere, on people in annotated boxes.

    NAME may be an exported .onnx or .xml file, which runs as it is.

    The metric follows from the joints: PCK@0.2 for LSP's, PCKh@0.5 for MPII's, AP for coco, PCK@0.2
    of the torso and OKS for COCO's 17 and our 19 joints, PCK@0.2 of the box for any others.
    """
    from gatedpose.data.readers import read_dataset
    from gatedpose.evaluation.reports import score_facts, score_text
    from gatedpose.evaluation.run import evaluate as run
    from gatedpose.predict.exported import SUFFIXES
    from gatedpose.predict.networks import load_network

    exported = Path(name or "").suffix.lower() in SUFFIXES
    if (name is None) == (predictions is None):
        raise click.UsageError("give the NAME of a model, or --predictions")
    if predictions:
        check_unused("--predictions", OF_NETWORKS)
    else:
        check_unused("the NAME of a model", ["shift"])
        check_unused("an exported file", OF_PYTORCH if exported else [])
    truth = _coco_truth(data, split, threshold, shift) if dataset == "coco" else None
    if save:
        _check_save(save, truth)
    notes = notes_for_json(as_json)
    # Before data is read, which takes its time.
    model: Any = None
    if name and weights:
        model = gatedpose.create_model(name)
    elif name:
        model, network["device"] = load_network(name, network["device"])
    samples = read_dataset(dataset, data, split, check_images=predictions is None)
    facts: dict[str, Any] = {"model": name or str(predictions), "dataset": dataset, "split": split}
    facts["people"] = len(samples)
    settings = {"threshold": threshold, "averaging": averaging}
    if predictions:
        score = _score_file(predictions, samples, truth, shift, **settings)
    else:
        predictor = _predictor(model, weights, samples[0].skeleton, **network)
        result = run(predictor, samples, progress=not as_json, **settings)
        score = _save_and_score(result, samples, truth, save)
        facts |= {"flip_test": network["flip"], "decoder": network["decoder"]}
        facts["size"] = list(predictor.size)
    facts = {**score_facts(score, samples[0].skeleton, facts), "notes": notes}
    click.echo(to_json(facts, indent=1) if as_json else score_text(facts))


def _coco_truth(data: Path, split: str, threshold: float | None, shift: float | None) -> Path:
    from gatedpose.data.coco import annotations_file

    check_unused("COCO's AP: it is of PCKh", ["averaging"])
    if threshold is not None or shift is not None:
        raise click.UsageError("COCO's AP takes no --threshold, and its results no --shift")
    return annotations_file(data, split)


def _check_save(save: Path, truth: Path | None) -> None:
    suffix = ".json" if truth else ".npz"
    if save.suffix != suffix:
        raise click.BadParameter(f"predictions are saved as {suffix}", param_hint="--save")
    check_apart("--save", save, truth)
    check_writable(save.parent, "--save")
    if truth:
        check_replaced("--save", save, *RESULTS)


def _score_file(
    file: Path, samples: Any, truth: Path | None, shift: float | None, **settings: Any
) -> "Score":
    import numpy as np

    from gatedpose.evaluation.coco_results import load_results, score_results
    from gatedpose.evaluation.predictions import load_predictions
    from gatedpose.evaluation.run import labelled_of, score_people

    if truth:
        return score_results(truth, load_results(file))
    if shift is None:
        shift = -0.5 if file.suffix.lower() == ".mat" else 0.0
    keypoints = load_predictions(file, samples, shift)
    known = np.asarray(np.isfinite(keypoints).all(axis=(0, 2)))  # NaN: no joint of the network
    return score_people(labelled_of(samples, known), keypoints, **settings)


def _save_and_score(result: Any, samples: Any, truth: Path | None, save: Path | None) -> "Score":
    from gatedpose.evaluation.coco_results import save_results, score_results, to_results

    if not truth:
        if save:
            result.save(save)
        score: Score = result.score
        return score
    results = to_results(samples, result.keypoints, result.scores)
    if save:
        save_results(results, save)
    return score_results(truth, results)


def _predictor(
    model: Any,
    weights: Path | None,
    skeleton: "Skeleton",
    device: str | None,
    size: int | None,
    flip: bool,
    decoder: Any,
    fast: Fast | None,
) -> "gatedpose.Predictor":
    from gatedpose.data.joints import named_skeleton
    from gatedpose.models.saved import file_facts

    joints = None
    if weights:
        told, trained_at = file_facts(weights)
        joints = named_skeleton(told, skeleton) if told else skeleton
        size = size or trained_at
        model.reset_classifier(joints.num_keypoints)
        gatedpose.load_weights(model, weights)
    device, side = best_device(device), (size, size) if size else None
    model = make_ready(model, fast, device, BATCH, side)
    return gatedpose.Predictor(
        model, joints, device=device, flip_test=flip, decoder=decoder, size=side, batch_size=BATCH
    )
