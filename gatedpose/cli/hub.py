"""`gatedpose push`: trained weights to the Hugging Face Hub."""

from pathlib import Path
from tempfile import TemporaryDirectory

import click

from gatedpose.cli.options import FILE, json_option
from gatedpose.files.typed_json import to_json


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
    from gatedpose.models.names import find_word

    if repo is None and dry_run is None:
        raise click.UsageError("give --repo ORG/NAME, or --dry-run DIR")
    if repo:
        check_repository(repo)
    text = card.read_text("utf-8") if card else None
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
