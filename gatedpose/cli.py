"""The `gatedpose` command: thin layers of options over the package. Nothing imports it."""

import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import click
from torch import Tensor

import gatedpose
from gatedpose.heatmaps import DECODERS, DEFAULT_DECODER
from gatedpose.media import FORMATS, ImageError, read_image

Command = TypeVar("Command", bound=Callable[..., Any])

# Where the whole body of the demo's portrait would be: people are trained on from head to foot.
DEMO_BOX = [20.0, 10.0, 440.0, 1050.0]
DATA_HELP = "Folder of the dataset: joints.mat and images/."


class Commands(click.Group):
    """Shows our own errors as one line and not as a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; bad input ends with exit code 1 and the message."""
        try:
            return super().invoke(ctx)
        except (ValueError, TypeError, ImportError, OSError, gatedpose.WeightsError) as error:
            raise click.ClickException(f"{error}") from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(gatedpose.__version__)
def main() -> None:
    """Fast, accurate keypoints of people: gated hourglasses from 0.5 M to 26 M parameters."""


def json_option(command: Command) -> Command:
    """Adds --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def network_options(command: Command) -> Command:
    """Adds what shapes a prediction."""
    for option in (
        click.option("--device", help="Such as cpu or cuda; CUDA where it is there by default."),
        click.option(
            "--flip", is_flag=True, help="Average with the mirrored image (half as fast)."
        ),
        click.option(
            "--decoder", type=click.Choice(DECODERS), default=DEFAULT_DECODER, show_default=True
        ),
        click.option("--batch-size", default=32, show_default=True, help="People at once."),
    ):
        command = option(command)
    return command


@main.command(name="list")
@click.argument("pattern", default="*")
@click.option("--pretrained", is_flag=True, help="Only what has trained weights, by tag.")
@json_option
def list_command(pattern: str, pretrained: bool, as_json: bool) -> None:
    """Lists models with what they cost at 256 x 256 and the paper's own figures."""
    from gatedpose.reports import model_rows, model_table

    rows = model_rows(gatedpose.list_models(pattern, pretrained=pretrained))
    click.echo(json.dumps(rows, indent=1) if as_json else model_table(rows))


@main.command()
@click.argument("name")
@click.option("--size", default="256x256", show_default=True, help="HEIGHTxWIDTH of the input.")
@click.option("--by-module", is_flag=True, help="Parameters and MACs of every module.")
@json_option
def info(name: str, size: str, by_module: bool, as_json: bool) -> None:
    """Says what a model costs, next to the paper's figures, and how its weights were made."""
    from gatedpose.reports import describe_model, info_text

    try:
        height, width = (int(part) for part in size.lower().split("x"))
    except ValueError:
        raise click.BadParameter(f"{size!r} is not HEIGHTxWIDTH, such as 256x192") from None
    facts = describe_model(name, (height, width), by_module=by_module)
    click.echo(json.dumps(facts, indent=1) if as_json else info_text(facts))


@main.command()
@click.argument("source", required=False)
@click.option("--demo", is_flag=True, help="Use a photograph that scikit-image ships.")
@click.option("--model", default="gated_hg_1s_68.lsp", show_default=True)
@click.option("--box", "boxes", multiple=True, metavar="X0,Y0,X1,Y1", help="A person; repeat it.")
@click.option("--out", type=Path, help="Picture to write, or folder for many. [poses.png, poses/]")
@click.option("--min-score", default=0.2, show_default=True, help="Joints below are not drawn.")
@network_options
@json_option
def predict(
    source: str | None,
    demo: bool,
    model: str,
    boxes: tuple[str, ...],
    out: Path | None,
    min_score: float,
    as_json: bool,
    **network: Any,
) -> None:
    """Draws the keypoints of people in PHOTO, in a folder's photos or in those a "*.jpg" finds.

    Without --box the whole picture is taken as one person.
    """
    from tqdm import tqdm

    from gatedpose.media import demo_image, draw_poses, find_images, write_image
    from gatedpose.reports import pose_text, stack_poses

    if demo == (source is not None):
        raise click.UsageError("give a photo, a folder or a pattern, or --demo")
    files = [demo_image()] if demo else find_images(source or "")
    single = demo or Path(source or "").is_file()
    pictures = _pictures(files, out, single)
    wanted = [_parse_box(box) for box in boxes] or ([DEMO_BOX] if demo else None)
    predictor = _predictor(model, network)
    reader = _Reader(files)
    results = predictor.stream((image, wanted) for image in reader)
    for poses in tqdm(results, "predicting", len(files), unit="image", disable=single):
        file, image = reader.next_done()
        keypoints, scores, found = stack_poses(poses)
        picture = draw_poses(
            image,
            keypoints,
            scores,
            predictor.skeleton,
            boxes=found if boxes else None,
            min_score=min_score,
        )
        write_image(picture, pictures[file])
        facts = {
            "image": str(file),
            "picture": str(pictures[file]),
            "poses": [pose.to_dict() for pose in poses],
        }
        click.echo(json.dumps(facts) if as_json else pose_text(facts))
    if reader.failures:
        raise click.ClickException("\n".join(reader.failures))


@main.command()
@click.argument("name")
@click.option("--dataset", type=click.Choice(["lsp", "lspet"]), default="lsp", show_default=True)
@click.option("--data", type=Path, required=True, help=DATA_HELP)
@click.option("--split", default="val", show_default=True)
@click.option("--flip/--no-flip", default=True, show_default=True, help="Flip test.")
@click.option("--decoder", type=click.Choice(DECODERS), default=DEFAULT_DECODER, show_default=True)
@click.option("--size", default=256, show_default=True, help="Side of the input in pixels.")
@click.option(
    "--weights", type=Path, help="A .safetensors file of the model NAME to score instead."
)
@click.option("--device")
@click.option("--save", type=Path, help="Writes the raw predictions (.npz).")
@json_option
def evaluate(
    name: str,
    dataset: str,
    data: Path,
    split: str,
    flip: bool,
    decoder: Any,
    size: int,
    weights: Path | None,
    device: str | None,
    save: Path | None,
    as_json: bool,
) -> None:
    """Scores a model on a dataset: PCK@0.2, person-centric, by joint."""
    from gatedpose.data.lsp import read_dataset
    from gatedpose.evaluation import evaluate as run
    from gatedpose.reports import score_facts, score_text

    samples = read_dataset(dataset, data, split)
    options: dict[str, Any] = {"flip_test": flip, "decoder": decoder, "size": (size, size)}
    model = gatedpose.create_model(
        name,
        pretrained=weights is None,
        num_keypoints=samples[0].skeleton.num_keypoints if weights else None,
        checkpoint_path=weights,
    )
    predictor = gatedpose.Predictor(model, device=_device(device), **options)
    result = run(predictor, samples, progress=not as_json)
    if save:
        result.save(save)
    settings = {"model": name, "dataset": dataset, "split": split, "people": len(samples)}
    facts = score_facts(result.score, samples[0].skeleton, {**settings, **options})
    click.echo(json.dumps(facts, indent=1) if as_json else score_text(facts))


@main.command()
@click.argument("name")
@click.option("--recipe", default="lsp", show_default=True)
@click.option("--lsp", type=Path, required=True, help="Folder of LSP.")
@click.option("--lspet", type=Path, required=True, help="Folder of LSP-extended.")
@click.option("--out", type=Path, required=True, help="Folder for checkpoints, log and weights.")
@click.option(
    "--phase", "phases", multiple=True, metavar="SIZE,IMAGES,BATCH,SIGMA",
    help="Replaces the recipe's phases; repeat it.",
)  # fmt: skip
@click.option("--seed", type=int, help="Replaces the recipe's seed.")
@click.option(
    "--precision", type=click.Choice(["no", "bf16", "fp16"]), help="Replaces the recipe's: autocast."
)
@click.option("--init", type=Path, help="A .safetensors file to start from.")
@click.option(
    "--watch-every", default=20_000, show_default=True, help="Images between checkpoints."
)
@json_option
def train(
    name: str,
    recipe: str,
    lsp: Path,
    lspet: Path,
    out: Path,
    phases: tuple[str, ...],
    seed: int | None,
    precision: Any,
    init: Path | None,
    watch_every: int,
    as_json: bool,
) -> None:
    """Trains a model on LSP and LSP-extended; run again, it goes on where it stopped.

    For several processes: accelerate launch --num_processes 2 -m gatedpose.cli train ...
    """
    from gatedpose.recipes import RECIPES, Phase
    from gatedpose.training import train_lsp

    if recipe not in RECIPES:
        raise click.BadParameter(f"there are {', '.join(RECIPES)}", param_hint="--recipe")
    chosen = RECIPES[recipe]
    if phases:
        parts = [phase.split(",") for phase in phases]
        chosen = replace(
            chosen, phases=tuple(Phase(int(a), int(b), int(c), float(d)) for a, b, c, d in parts)
        )
    if seed is not None:
        chosen = replace(chosen, seed=seed)
    if precision is not None:
        chosen = replace(chosen, precision=precision)
    path = train_lsp(name, chosen, {"lsp": lsp, "lspet": lspet}, out, watch_every, init)
    if path and as_json:
        click.echo(json.dumps({"weights": str(path), "recipe": asdict(chosen)}))
    elif path:
        click.echo(f"wrote {path}; score it with")
        click.echo(f"  gatedpose evaluate {name} --weights {path} --dataset lsp --data {lsp}")


def _device(name: str | None) -> str:
    import torch

    return name or ("cuda" if torch.cuda.is_available() else "cpu")


def _predictor(model: str, network: dict[str, Any]) -> "gatedpose.Predictor":
    return gatedpose.Predictor(
        gatedpose.create_model(model, pretrained=True),
        flip_test=network["flip"],
        decoder=network["decoder"],
        batch_size=network["batch_size"],
        device=_device(network["device"]),
    )


def _parse_box(text: str) -> list[float]:
    try:
        box = [float(part) for part in text.split(",")]
    except ValueError:
        box = []
    if len(box) != 4:
        raise click.BadParameter(f"{text!r} is not X0,Y0,X1,Y1 in pixels", param_hint="--box")
    return box


def _pictures(files: list[Path], out: Path | None, single: bool) -> dict[Path, Path]:
    """Where each file's picture goes, checked to be writable before any work is done."""
    target = out or Path("poses.png" if single else "poses")
    if single and not target.is_dir():
        pictures = {files[0]: target}
    else:
        target.mkdir(parents=True, exist_ok=True)
        pictures = {file: target / f"{file.name}.png" for file in files}
    folder = next(iter(pictures.values())).parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise click.BadParameter(f"cannot write into {folder}", param_hint="--out")
    if single and target.suffix and target.suffix.lower() not in FORMATS:
        known = ", ".join(FORMATS)
        raise click.BadParameter(f"{target} is none of {known}", param_hint="--out")
    return pictures


class _Reader:
    """Reads files as they are asked for; those that cannot be read are kept to be reported."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files
        self.failures: list[str] = []
        self.read: deque[tuple[Path, Tensor]] = deque()

    def __iter__(self) -> Iterator[Tensor]:
        for file in self.files:
            try:
                image = read_image(file)
            except (ImageError, OSError) as error:
                self.failures.append(f"{error}")
                continue
            self.read.append((file, image))
            yield image

    def next_done(self) -> tuple[Path, Tensor]:
        """The file whose poses have just come, and its image."""
        return self.read.popleft()


if __name__ == "__main__":
    main()
