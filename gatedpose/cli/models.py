"""`gatedpose list` and `gatedpose info`."""

from pathlib import Path

import click

import gatedpose
from gatedpose.cli.options import PICTURE, json_option, size_option
from gatedpose.json_files import to_json


@click.command(name="list")
@click.argument("pattern", default="*")
@click.option("--pretrained", is_flag=True, help="Only what has trained weights, by tag.")
@click.option("--plot", type=PICTURE, help="Draws scores over parameters and MACs (.png).")
@json_option
def list_command(pattern: str, pretrained: bool, plot: Path | None, as_json: bool) -> None:
    """Lists models with what they cost at 256 x 256 and the paper's own figures."""
    from gatedpose.evaluation.reports import model_rows, model_table, plot_models
    from gatedpose.files import write_whole

    rows = model_rows(gatedpose.list_models(pattern, pretrained=pretrained))
    if plot:
        write_whole(plot, plot_models(rows))
    click.echo(to_json(rows, indent=1) if as_json else model_table(rows))


@click.command()
@click.argument("name")
@size_option
@click.option("--by-module", is_flag=True, help="Parameters and MACs of every module.")
@json_option
def info(name: str, size: tuple[int, int], by_module: bool, as_json: bool) -> None:
    """Says what a model costs, next to the paper's figures, and how its weights were made."""
    from gatedpose.evaluation.reports import describe_model, info_text

    facts = describe_model(name, size, by_module=by_module)
    click.echo(to_json(facts, indent=1) if as_json else info_text(facts))
