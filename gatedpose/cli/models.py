"""`gatedpose list` and `gatedpose info`."""

import json
from pathlib import Path

import click

from gatedpose.catalogue import model_table, stored_rows


@click.command(name="list")
@click.argument("pattern", default="*")
@click.option("--pretrained", is_flag=True, help="Only what has trained weights, by tag.")
@click.option("--plot", type=Path, help="Draws scores over parameters and MACs (.png).")
@click.option("--recount", is_flag=True, help="Count anew: the JSON of weights/counts.json.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(
    pattern: str, pretrained: bool, plot: Path | None, recount: bool, as_json: bool
) -> None:
    """Lists models with what they cost at 256 x 256 and the paper's own figures."""
    if recount:
        from gatedpose.evaluation.reports import count_rows

        click.echo(json.dumps(count_rows(), indent=1))
        return
    rows = stored_rows(pattern, pretrained)
    if plot:
        from gatedpose.evaluation.reports import plot_models
        from gatedpose.files import write_whole

        write_whole(plot, plot_models(rows))
    click.echo(json.dumps(rows, indent=1) if as_json else model_table(rows))


@click.command()
@click.argument("name")
@click.option("--size", default="256x256", show_default=True, help="HEIGHTxWIDTH of the input.")
@click.option("--by-module", is_flag=True, help="Parameters and MACs of every module.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(name: str, size: str, by_module: bool, as_json: bool) -> None:
    """Says what a model costs, next to the paper's figures, and how its weights were made."""
    from gatedpose.cli.options import parse_size
    from gatedpose.evaluation.reports import describe_model, info_text

    facts = describe_model(name, parse_size(size), by_module=by_module)
    click.echo(json.dumps(facts, indent=1) if as_json else info_text(facts))
