"""`gatedpose list` and `gatedpose info`."""

from pathlib import Path

import click

from gatedpose.catalogue import model_table, stored_rows, word_table
from gatedpose.cli.options import PICTURE, check_unused, json_option, size_option
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
    from gatedpose.models.names import find_word

    facts = describe_model(find_word(name), size, by_module=by_module)
    click.echo(to_json(facts, indent=1) if as_json else info_text(facts))
