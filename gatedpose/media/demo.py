"""The photograph of the demo, which scikit-image ships."""

from importlib.util import find_spec
from pathlib import Path

from gatedpose.errors import MissingPackageError


def demo_image() -> Path:
    """Path of a photo of a person that scikit-image or matplotlib brings; nothing is downloaded."""
    photos = {
        "skimage": "data/astronaut.png",  # Eileen Collins, NASA, public domain
        "matplotlib": "mpl-data/sample_data/grace_hopper.jpg",  # US Navy, public domain
    }
    for module, photo in photos.items():
        spec = find_spec(module)  # finds the folder without importing the package
        for folder in (spec and spec.submodule_search_locations) or []:
            if (path := Path(folder, photo)).is_file():
                return path
    raise MissingPackageError('a demo photo comes with scikit-image: pip install "gatedpose[demo]"')
