"""The mean of two trainings' weights: better than either where one went on from the other.

    python examples/average_weights.py RUN AFTER OUT

RUN and AFTER are the folders of two trainings of one network, by `gatedpose train` or `finder
train`. OUT becomes a folder with AFTER's recipe, whose model has the mean of their tensors, those
of batch norm, too ("WiSE-FT": Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR
2022).
"""

import shutil
from pathlib import Path

import click
from safetensors.torch import load_file, save

from gatedpose.files.whole import write_whole

FILE = Path("model", "model.safetensors")


@click.command(help=__doc__)
@click.argument("run", type=Path)
@click.argument("after", type=Path)
@click.argument("out", type=Path)
def main(run: Path, after: Path, out: Path) -> None:
    """See the top of the file."""
    one, other = load_file(run / FILE), load_file(after / FILE)
    shapes = [{key: tensor.shape for key, tensor in part.items()} for part in (one, other)]
    if shapes[0] != shapes[1]:
        raise click.UsageError(f"{run} and {after} hold different networks")
    shutil.copytree(after / "model", out / "model")
    shutil.copy(after / "recipe.json", out)
    mean = {
        key: ((one[key].double() + tensor) / 2).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for key, tensor in other.items()
    }
    write_whole(out / FILE, save(mean, {"format": "pt"}))


if __name__ == "__main__":
    main()
