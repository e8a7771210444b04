"""`gatedpose gates`: what the learnt gates of a network are like."""

from pathlib import Path

import click

import gatedpose
from gatedpose.cli.options import PICTURE, check_apart, json_option, pixels_option
from gatedpose.files.typed_json import to_json


@click.command()
@click.argument("name")
@click.option(
    "--out", type=PICTURE, help="Draw the factors of each block (.png), as the paper's Fig. 3."
)
@click.option(
    "--features", type=PICTURE,
    help="Draw features before and after the skip (.png), as the paper's Fig. 4.",
)  # fmt: skip
@click.option("--photo", type=Path, help="Photo of a person, for --features. [the example]")
@pixels_option
@json_option
def gates(
    name: str, out: Path | None, features: Path | None, photo: Path | None, as_json: bool
) -> None:
    """Says how the factors of the skip connections of the trained model NAME are distributed."""
    from gatedpose.files.whole import write_whole
    from gatedpose.media.demo import demo_image
    from gatedpose.media.images import image_size
    from gatedpose.models.names import find_word
    from gatedpose.research.gates import find_gates, gates_text, plot_gates, plot_skips, watch_skips

    check_apart("--out", out, photo, features)
    check_apart("--features", features, photo)
    if photo and not features:
        raise click.UsageError("--photo is for --features, which is not given")
    name = find_word(name)
    model = gatedpose.create_model(name, pretrained=True)
    found = find_gates(model)
    facts: dict[str, object] = {"model": name, "gates": [gate.facts() for gate in found]}
    text = [gates_text(name, found)]
    if out:
        write_whole(out, plot_gates(f"{name}: alpha of each block", found))
        text.append(f"drawn in {out}")
        facts["picture"] = str(out)
    if features:
        picture = photo or demo_image()
        width, height = image_size(picture)
        with watch_skips(model) as skips:
            gatedpose.Predictor(model)(picture, [[0.0, 0.0, width, height]])
        facts |= {"photo": str(picture), "skips": [skip.facts() for skip in skips.values()]}
        write_whole(features, plot_skips(f"{name}: features of {picture.name}", skips))
        text.append(f"features of {picture} drawn in {features}")
        facts["features"] = str(features)
    click.echo(to_json(facts, indent=1) if as_json else "\n\n".join(text))
