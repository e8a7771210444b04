"""`gatedpose convert`: weights of PyTorch's own files to safetensors."""

from pathlib import Path

import click


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
