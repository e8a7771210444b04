"""Files of what is packed once: tensors, and what they were made of."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from tqdm import tqdm

from gatedpose.data.samples import first_five
from gatedpose.errors import DatasetError, ImageError
from gatedpose.files.whole import write_whole

T = TypeVar("T")
Read = TypeVar("Read")


def each_read(
    items: Sequence[T], read: Callable[[T], Read], what: str, unit: str
) -> Iterator[Read]:
    """What `read` gives of each item; shows a progress bar.

    Raises:
        ImageError: For images that cannot be read, once all were tried; five are named.
    """
    wrong: dict[str, None] = {}
    for item in tqdm(items, what, unit=unit):
        try:
            done = read(item)
        except ImageError as error:  # noqa: PERF203
            wrong[str(error)] = None
        else:
            yield done
    if wrong:
        raise ImageError(first_five(list(wrong), "\n"))


def kept(
    path: Path, about: dict[str, str], of: str, make: Callable[[], Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """The tensors of a safetensors file, made first if it is not there; it appears whole.

    Args:
        path: The file.
        about: What the tensors are made of, as the file says it, too.
        of: The same for messages.
        make: Gives the tensors.

    Raises:
        DatasetError: If the file is of something else, or damaged.
    """
    if not path.exists():
        write_whole(path, save(dict(make()), about))
    try:
        with safe_open(path, framework="pt") as file:
            if file.metadata() != about:
                raise DatasetError(f"{path} was packed from other {of}; remove it to pack anew")
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise DatasetError(f"{path} is damaged ({error}); remove it to pack anew") from error
