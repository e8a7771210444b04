"""Makes folders of pictures without people, to train and to test a finder.

    python examples/pictures_without_people.py IMAGENET HOUSES PETS ANIMALS OUT

IMAGENET is a clone of the public repository EliSchwartz/imagenet-sample-images, a picture of each
of ImageNet's classes. Those with people, hands or faces in them were found by eye; the list beside
this file leaves them out. HOUSES is the folder of pictures of a clone of emanhamed/Houses-dataset;
one of the four pictures of each house is taken. PETS is Data/Train_Data of a clone of
ardamavi/Dog-Cat-Classifier, cats and dogs; a list leaves out those with people in them, or perhaps.
ANIMALS is images of mateusrafael4/Atividade_programacao_pose_estimation, Pascal VOC's pictures of
animals; a list names those of them in which a finder saw something and the eye no person.
Writes links to the pictures into OUT/things, OUT/things_val (every fifth), OUT/rooms, OUT/rooms_val
(every eighth house), OUT/pets, OUT/pets_val, OUT/animals and OUT/animals_val (every fifth).
"""

from collections.abc import Iterator
from pathlib import Path

import click

KINDS = ("bathroom", "bedroom", "kitchen", "frontal")
WITH_PEOPLE = Path(__file__).with_name("imagenet_samples_with_people.txt")
PETS_WITH_PEOPLE = Path(__file__).with_name("pets_with_people.txt")
ANIMALS_ALONE = Path(__file__).with_name("animals_without_people.txt")


def things(imagenet: Path) -> Iterator[tuple[str, Path]]:
    """Folder and picture of each class that shows nobody."""
    people = set(WITH_PEOPLE.read_text("utf-8").split())
    pictures = sorted(imagenet.glob("*.JPEG"))
    empty = [path for path in pictures if path.name.partition("_")[0] not in people]
    for i, path in enumerate(empty):
        yield "things" if i % 5 else "things_val", path


def rooms(houses: Path) -> Iterator[tuple[str, Path]]:
    """Folder and picture of each house, the kinds in turn."""
    for path in sorted(houses.glob("*_*.jpg")):
        house, _, kind = path.stem.partition("_")
        if KINDS[int(house) % 4] == kind:
            yield "rooms" if int(house) % 8 else "rooms_val", path


def pets(folder: Path) -> Iterator[tuple[str, Path]]:
    """Folder and picture of each cat and dog that is alone."""
    people = set(PETS_WITH_PEOPLE.read_text("utf-8").split())
    pictures = sorted(folder.glob("*/*.jpg"))
    for i, path in enumerate(one for one in pictures if one.stem not in people):
        yield "pets" if i % 5 else "pets_val", path


def animals(folder: Path) -> Iterator[tuple[str, Path]]:
    """Folder and picture of each animal, or animals, without people."""
    for i, name in enumerate(ANIMALS_ALONE.read_text("utf-8").split()):
        if (path := folder / f"{name}.jpg").is_file():
            yield "animals" if i % 5 else "animals_val", path


@click.command(help=__doc__)
@click.argument("imagenet", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("houses", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("pets_folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("animals_folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def main(imagenet: Path, houses: Path, pets_folder: Path, animals_folder: Path, out: Path) -> None:
    """See the top of the file."""
    chosen = [*things(imagenet), *rooms(houses), *pets(pets_folder), *animals(animals_folder)]
    if len({folder for folder, _ in chosen}) < 8:
        raise click.UsageError(
            f"{imagenet}, {houses}, {pets_folder} or {animals_folder} does not hold the pictures"
        )
    if out.exists():
        raise click.UsageError(f"{out} is there already: choose another folder")
    for folder, path in chosen:
        link = out / folder / path.with_suffix(".jpg").name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.resolve())
    for made in sorted(out.iterdir()):
        click.echo(f"{made}: {len(list(made.iterdir()))} pictures")


if __name__ == "__main__":
    main()
