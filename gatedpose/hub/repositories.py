"""Repositories of the Hugging Face Hub: complete folders, and uploads."""

from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
from torchvision.utils import draw_bounding_boxes

import gatedpose
from gatedpose.catalogue import HUB_FILE, RANGES_FILE
from gatedpose.engines.quantise import ranges_file
from gatedpose.errors import InputError, WeightsError
from gatedpose.files.whole import whole_folder, write_whole
from gatedpose.hub.cards import check_card, model_card, own_card
from gatedpose.media.demo import demo_image
from gatedpose.media.images import read_image, write_image
from gatedpose.models.saved import MODEL_FILES, calibration_of, save_model
from gatedpose.models.variants import find_weights, parse_name
from gatedpose.models.zoo import create_model
from gatedpose.pose import draw
from gatedpose.predict.finder import PersonFinder
from gatedpose.predict.predictor import Predictor
from gatedpose.skeleton import SKELETONS

FILES = MODEL_FILES | {"README.md", "poses.png", "people.png"}


def write_repository(
    name: str, folder: str | Path, repository: str = "ORGANISATION/NAME", card: str | None = None
) -> Path:
    """Writes all files of a Hub repository; the folder appears whole, in place of an older one.

    Args:
        name: Trained weights, "variant.tag"; or "local-dir:run/model", a network of one's own.
        folder: Where to write; its parent must exist.
        repository: What the card calls it.
        card: README.md to take instead of `model_card`'s; its numbers must be those of the table.

    Returns:
        The folder with model.safetensors (the packaged file, byte for byte), config.json in timm's
        schema, int8.json if there are ranges for eight bits, README.md and, of packaged weights,
        poses.png or people.png.
    """
    source, place, _ = parse_name(name)
    if source == "local-dir":
        create_model(name, pretrained=True)  # what does not load is not pushed
        with whole_folder(folder, FILES) as part:
            for file in filter(Path.is_file, (Path(place, each) for each in MODEL_FILES)):
                write_whole(part / file.name, file.read_bytes())
            write_whole(part / "README.md", card or own_card(Path(place), repository))
        return Path(folder).resolve()
    weights = find_weights(name)
    text = card or model_card(weights, repository)
    check_card(text, weights)
    with whole_folder(folder, FILES) as part:
        model = create_model(weights.name, pretrained=True)
        skeleton = SKELETONS[weights.skeleton] if weights.skeleton else None
        save_model(model, part, skeleton, calibration_of(model))
        write_whole(part / HUB_FILE, weights.fetch().read_bytes())
        if (ranges := ranges_file(model)).is_file():
            write_whole(part / RANGES_FILE, ranges.read_bytes())
        write_whole(part / "README.md", text)
        image = read_image(demo_image())
        if skeleton:
            write_image(draw(image, Predictor(model)(image)), part / "poses.png")
        else:
            found = PersonFinder(model)(image)[:, :4]
            picture = draw_bounding_boxes(image, found, colors="white", width=3)
            write_image(picture, part / "people.png")
    return Path(folder).resolve()


def push(folder: Path, repository: str) -> str:
    """Uploads a folder as one commit, to a repository made if need be; returns its address."""
    if huggingface_hub.get_token() is None:
        raise WeightsError("push needs a token of the Hub: run `hf auth login` or set HF_TOKEN")
    api = huggingface_hub.HfApi(library_name="gatedpose", library_version=gatedpose.__version__)
    try:
        api.create_repo(repository, exist_ok=True)
        done = api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message=f"gatedpose {repository}"
        )
    except Exception as error:
        raise WeightsError(f"cannot push to {repository}: {error}") from error
    return str(done.commit_url)


def check_repository(repository: str) -> None:
    """Raises ValueError unless the name is ORG/NAME."""
    try:
        validate_repo_id(repository)
        good = all(repository.partition("/"))
    except HFValidationError:
        good = False
    if not good:
        raise InputError(f"push: a repository is ORG/NAME, got {repository!r}")
