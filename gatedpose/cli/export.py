"""`gatedpose export`: a model for another runtime."""

from pathlib import Path

import click

import gatedpose
from gatedpose.cli.options import check_replaced, checked, json_option, parse_size
from gatedpose.files.typed_json import to_json


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
    from gatedpose.models.names import find_word
    from gatedpose.models.saved import skeleton_of

    name = find_word(name)
    model = gatedpose.create_model(name, pretrained=not fresh)
    stem = name.rpartition(":")[2].rstrip("/").rpartition("/")[2]
    suffix = {"onnx": ".onnx", "torch-export": ".pt2", "openvino": ".xml"}[kind]
    path = out or Path(f"{stem}{suffix}")
    if path.suffix != suffix:
        raise click.BadParameter(f"{path} does not end in {suffix}", param_hint="--out")
    if kind == "openvino":
        check_replaced("--out", path, "network of OpenVINO's", b"<net")
    done = run(
        model,
        path,
        kind,  # type: ignore[arg-type]
        skeleton=skeleton_of(model),
        size=size or model.pretrained_cfg["input_size"][1:],
        **asked,
    )
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
