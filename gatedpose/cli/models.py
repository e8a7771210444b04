"""Commands about models: list, info, export, quantise, convert and push."""

from pathlib import Path
from tempfile import TemporaryDirectory

import click

import gatedpose
from gatedpose.catalogue import DATASETS, RANGES_FILE, model_table, stored_rows, word_table
from gatedpose.cli.options import (
    COUNT,
    FILE,
    PICTURE,
    check_replaced,
    check_unused,
    check_writable,
    checked,
    json_option,
    parse_size,
    size_option,
)
from gatedpose.files.typed_json import to_json


@click.command(name="list")
@click.argument("pattern", default="*")
@click.option("--pretrained", is_flag=True, help="Only models with weights, by the names of these.")
@click.option("--words", is_flag=True, help="Only what fast, balanced and best stand for.")
@click.option("--plot", type=PICTURE, help="Draw scores over parameters and MACs (.png).")
@click.option("--recount", is_flag=True, help="Count anew, for weights/counts.json.")
@json_option
def list_command(
    pattern: str, pretrained: bool, words: bool, plot: Path | None, recount: bool, as_json: bool
) -> None:
    """Lists models: size, work at 256 x 256, the paper's figures, weights and their scores."""
    if recount:
        from gatedpose.evaluation.reports import count_rows

        check_unused("--recount", ("pattern", "pretrained", "words", "plot"))
        click.echo(to_json(count_rows(), indent=1))
        return
    if words:
        check_unused("--words", ("pattern", "pretrained", "plot", "as_json"))
        click.echo(word_table())
        return
    rows = stored_rows(pattern, pretrained)
    if plot:
        from gatedpose.evaluation.reports import plot_models
        from gatedpose.files.whole import write_whole

        write_whole(plot, plot_models(rows))
    click.echo(to_json(rows, indent=1) if as_json else model_table(rows))


@click.command()
@click.argument("name")
@size_option
@click.option("--by-module", is_flag=True, help="Parameters and MACs of every module.")
@json_option
def info(name: str, size: tuple[int, int], by_module: bool, as_json: bool) -> None:
    """Tells size and work of a model, and its weights' licence, data, scores; --json the recipe."""
    from gatedpose.evaluation.reports import describe_model, info_text
    from gatedpose.models.variants import find_word

    facts = describe_model(find_word(name), size, by_module=by_module)
    click.echo(to_json(facts, indent=1) if as_json else info_text(facts))


@click.command()
@click.argument("name")
@click.option(
    "--format", "kind", type=click.Choice(["onnx", "torch-export", "openvino"]), default="onnx",
    show_default=True,
)  # fmt: skip
@click.option("--out", type=Path, help="File to write. [NAME.onnx, NAME.pt2 or NAME.xml]")
@click.option(
    "--size", callback=checked(parse_size), help="HEIGHTxWIDTH of the input. [the model's own]"
)
@click.option("--half", is_flag=True, help="Weights and arithmetic in half precision.")
@click.option("--int8", is_flag=True, help="Eight bits, for --format openvino.")
@click.option("--dynamic-batch", is_flag=True, help="Take any number of images at once. [one]")
@click.option("--with-decode", is_flag=True, help="Give keypoints and scores, too.")
@click.option("--fresh", is_flag=True, help="Untrained weights, to try a runtime.")
@json_option
def export(
    name: str,
    kind: str,
    out: Path | None,
    size: tuple[int, int] | None,
    fresh: bool,
    as_json: bool,
    **asked: bool,
) -> None:
    """Writes the model NAME for another runtime and compares it there with PyTorch."""
    from gatedpose.export import export as run
    from gatedpose.models.finder import GatedFinder
    from gatedpose.models.variants import find_word

    name = find_word(name)
    model = gatedpose.create_model(name, pretrained=not fresh)
    stem = name.rpartition(":")[2].rstrip("/").rpartition("/")[2]
    suffix = {"onnx": ".onnx", "torch-export": ".pt2", "openvino": ".xml"}[kind]
    path = out or Path(f"{stem}{suffix}")
    if path.suffix != suffix:
        raise click.BadParameter(f"{path} does not end in {suffix}", param_hint="--out")
    if kind == "openvino":
        check_replaced("--out", path, "network of OpenVINO's", b"<net")
    done = run(model, path, kind, size=size, **asked)  # type: ignore[arg-type]
    if as_json:
        precision = {"half": asked["half"], "int8": asked["int8"]}
        click.echo(to_json({**vars(done), "path": str(done.path), "model": name, **precision}))
        return
    runtime = {"onnx": "onnxruntime", "torch-export": "torch.export"}.get(kind, "OpenVINO")
    what = "boxes" if isinstance(model, GatedFinder) else "keypoints"
    click.echo(
        f"wrote {done.path}, {done.bytes:,} bytes, with {', '.join(done.outputs)}\n"
        f"{runtime} against PyTorch in float32, on noise, batches of "
        f"{', '.join(map(str, done.batches))}: heatmaps differ by {done.heatmap_difference:.2g}, "
        f"{what} by {done.keypoint_difference:.2g} px"
    )
    if asked["half"] or asked["int8"]:
        click.echo(
            "noise has no sure joints: where two weak peaks are alike, rounding takes the other one"
        )


@click.command()
@click.argument("name", metavar="local-dir:FOLDER")
@click.option("--dataset", default="own", show_default=True, help=", ".join(DATASETS))
@click.option("--data", type=Path, required=True, help="Folder of the dataset it has learnt from.")
@click.option(
    "--people", type=COUNT, default=256, show_default=True,
    help="So many people to learn from are looked at.",
)  # fmt: skip
@json_option
def quantise(name: str, dataset: str, data: Path, people: int, as_json: bool) -> None:
    """Makes a network of your own ready for eight bits, and scores them on its validation people.

    It writes int8.json into the FOLDER that a training has left, run/model. Then --precision int8
    of predict and evaluate, and export --int8, take the network.
    """
    from gatedpose.data.readers import read_dataset
    from gatedpose.evaluation.eight_bits import quantise as run
    from gatedpose.evaluation.eight_bits import score_in
    from gatedpose.models.variants import find_word, parse_name

    name = find_word(name)  # the bare folder will do
    source, place, _ = parse_name(name)
    if source != "local-dir":
        raise click.BadParameter(f"{name} is no network of your own: give local-dir:FOLDER")
    check_writable(Path(place), "FOLDER")
    model = gatedpose.create_model(name, pretrained=True)
    samples = {split: read_dataset(dataset, data, split) for split in ("train", "val")}
    ranges = run(model, samples["train"], people)
    scores = {p: score_in(p, model, samples["val"]) for p in ("float32", "int8")}
    if as_json:
        means = {precision: score.mean for precision, score in scores.items()}
        click.echo(
            to_json({"model": name, "file": f"{place}/{RANGES_FILE}", "ranges": ranges, **means})
        )
        return
    click.echo(
        f"wrote {place}/{RANGES_FILE}, {ranges} ranges\n{scores['int8'].metric} of "
        f"{len(samples['val'])} people: {scores['int8'].mean:.2f} in eight bits, "
        f"{scores['float32'].mean:.2f} in float32"
    )


@click.command()
@click.argument("source", type=Path)
@click.argument("target", type=Path)
def convert(source: Path, target: Path) -> None:
    """Writes the weights in SOURCE (.pt, .pth, .bin, .ckpt) as TARGET (.safetensors).

    The weights may lie deeper in a checkpoint. No code in the file is run.
    """
    from gatedpose.models.convert import convert_weights

    if target.exists():
        raise click.ClickException(f"{target} exists: name another file")
    tensors = convert_weights(source, target)
    click.echo(f"{len(tensors)} tensors -> {target}")


@click.command()
@click.argument("name")
@click.option("--repo", metavar="ORG/NAME", help="Repository to upload to; made if need be.")
@click.option(
    "--dry-run", type=Path, metavar="DIR", help="Write the files here and upload nothing."
)
@click.option(
    "--card", type=FILE,
    help="Take this README.md. Of packaged weights its results must be the published ones.",
)  # fmt: skip
@json_option
def push(
    name: str, repo: str | None, dry_run: Path | None, card: Path | None, as_json: bool
) -> None:
    """Makes a complete Hub repository of the trained weights NAME and uploads it.

    NAME may be a network of your own, local-dir:run/model; say with --card how well it does.
    """
    from gatedpose.hub.repositories import check_repository, push, write_repository
    from gatedpose.models.variants import find_word

    if repo is None and dry_run is None:
        raise click.UsageError("give --repo ORG/NAME, or --dry-run DIR")
    if repo:
        check_repository(repo)
    try:
        text = card.read_text("utf-8-sig") if card else None
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{card} is not UTF-8: {error}", param_hint="--card") from error
    called = repo or "ORGANISATION/NAME"
    with TemporaryDirectory() as place:
        target = dry_run or Path(place) / "repository"
        folder = write_repository(find_word(name), target, called, text)
        files = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
        address = push(folder, called) if dry_run is None else None
    facts = {"name": name, "files": files, "folder": str(dry_run) if dry_run else None}
    if as_json:
        click.echo(to_json({**facts, "commit": address}))
        return
    click.echo("\n".join(f"{size:>10,} {file}" for file, size in files.items()))
    click.echo(f"pushed to {address}" if address else f"written to {dry_run}; nothing uploaded")
