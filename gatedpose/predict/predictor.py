"""From an image and boxes to poses in image pixels: read, crop, network, decode, map back."""

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, Literal, TypeAlias, overload

import torch
from torch import Tensor, nn

from gatedpose.catalogue import DECODERS, DEFAULT_DECODER, Decoder
from gatedpose.data.preprocessing import Preprocessing
from gatedpose.device import find_device
from gatedpose.errors import GatedPoseError, check_choice, check_flags
from gatedpose.geometry import Boxes, crop_image, crop_matrices, invert, transform_points
from gatedpose.heatmaps import decode, flip_back
from gatedpose.media.images import ImageSource
from gatedpose.media.photos import Photo, as_rgb, read_photo
from gatedpose.models.saved import calibration_of
from gatedpose.pose import TRUST, TRUST_CALIBRATED, Pose
from gatedpose.predict import networks
from gatedpose.predict.finder import PersonFinder
from gatedpose.predict.looks import CloserLook, LookAgain
from gatedpose.predict.people import (
    WHOLE,
    Detector,
    boxes_of_each,
    people_in,
    spare_for_crops,
    spare_for_look,
)
from gatedpose.predict.queues import AtOnce, Batches, ahead, begun, default_threads
from gatedpose.skeleton import SKELETONS, Skeleton

Crop: TypeAlias = tuple[Callable[[], Tensor], Tensor, Tensor, Tensor]  # matrix, box, edge
People: TypeAlias = Boxes | Detector | Literal["whole"] | None
Pictured: TypeAlias = ImageSource | Photo | tuple[ImageSource | Photo, People]


class Predictor:
    """Finds keypoints of people in images.

    Args:
        model: The name of trained weights, as `create_model` knows them, or "fast", "balanced" or
            "best"; an exported .onnx or .xml file; a network of the zoo, optimised or not; or any
            module with `num_keypoints` or timm's `num_classes` K, (B, 3, H, W) -> (B, S, K, H/4,
            W/4). It is moved to `device` and set to evaluation mode.
        skeleton: The K joints; known for weights of the zoo.
        flip_test: Average with the prediction on the mirrored image: half as fast, a little better.
        decoder: See `gatedpose.heatmaps.decode`.
        size: (height, width) of the network's input; the model's own if None.
        batch_size: Largest number of people that go through the network at once.
        device: If None, a network's own; for a name CUDA where it is, else the CPU.
        detector: What finds people where no boxes are given, such as
            `gatedpose.predict.detector.load_detector` makes. If None, the packaged `PersonFinder`,
            and where that finds nobody the network itself looks for one person. With a skeleton of
            one's own the whole picture is taken.
        min_person: People whom the packaged finder is less sure of are left out, and nobody looks
            again; its own limit if None.
        workers: Threads that read the files of a `stream` and cut its crops; PyTorch's number if
            None, none if 0.

    Raises:
        TypeError: If the model is no network, or does not say how many keypoints it has.
        UnknownModelError: For an unknown name.
        WeightsError: If the name's weights cannot be had.
        ValueError: If the skeleton is unknown or has not K joints; for negative `workers`.
    """

    def __init__(
        self,
        model: nn.Module | str | os.PathLike[str],
        skeleton: Skeleton | None = None,
        *,
        detector: Detector | None = None,
        min_person: float | None = None,
        flip_test: bool = False,
        decoder: Decoder = DEFAULT_DECODER,
        size: tuple[int, int] | None = None,
        batch_size: int = 32,
        device: str | int | torch.device | None = None,
        workers: int | None = None,
    ) -> None:
        check_choice("Predictor: decoder", decoder, DECODERS)
        check_flags("Predictor", flip_test=flip_test)
        if isinstance(model, (str, os.PathLike)):
            model, device = networks.load_network(model, device)
        self.skeleton = networks.find_skeleton(model, skeleton)
        self._own_joints = self.skeleton not in SKELETONS.values()  # may be no person's
        networks.check_options(size, batch_size, workers, min_person, detector)
        like = next(model.parameters(), torch.empty(0))  # a kept engine shows no parameters
        self.device = like.device if device is None else find_device(device)
        self.dtype = networks.input_dtype(model)
        self.model = model.to(self.device).eval()
        networks.warn_of_untrained(model)
        self.detector, self.min_person = detector, min_person
        self.flip_test, self.decoder = flip_test, decoder
        self.calibration = calibration_of(model, self.skeleton)  # None: scores are peaks
        preprocessing = Preprocessing.of(model)
        self.size = size or preprocessing.size
        self.batch_size = batch_size
        self.workers = default_threads() if workers is None else workers
        self.mean, self.std = preprocessing.scales(self.device, white=255)

    @property
    def trust(self) -> float:
        """Score from which on a joint counts as found."""
        return TRUST if self.calibration is None else TRUST_CALIBRATED

    @functools.cached_property
    def finder(self) -> Detector | None:
        """What finds people where no boxes are given; None if the whole picture is taken."""
        if self.detector or self._own_joints:
            return self.detector
        finder = PersonFinder(min_score=self.min_person, device=self.device)
        return LookAgain(finder, self) if self.min_person is None else finder

    @functools.cached_property
    def _closer_look(self) -> Detector:
        return CloserLook(self)

    @overload
    def __call__(
        self, image: ImageSource, boxes: People = None, *, channels: str = "rgb"
    ) -> list[Pose]: ...

    @overload
    def __call__(
        self,
        image: list[ImageSource] | tuple[ImageSource, ...],
        boxes: Sequence[People] | Detector | Literal["whole"] | None = None,
        *,
        channels: str = "rgb",
    ) -> list[list[Pose]]: ...

    def __call__(self, image: Any, boxes: Any = None, *, channels: str = "rgb") -> Any:
        """Poses of the people in one image, or in each of several.

        Args:
            image: Path, bytes or open file, PIL image, array or tensor, see
                `gatedpose.media.images.read_image`; or a list of them.
            boxes: (N, 4), each (x0, y0, x1, y1) about a person, or (N, 5) with a score; one such
                row; "whole" for an image that is one person (see `predict.looks.CloserLook`); or
                what finds people, called with the image as a uint8 tensor (3, H, W). If None people
                are looked for, see `detector`. For a list of images a list, one entry each.
            channels: "bgr" for arrays and tensors as OpenCV gives them.

        Returns:
            N poses, in the order of the boxes; none if there is nobody. For a list of images a list
            of such lists.

        Raises:
            ImageError: If the image cannot be read.
            BoxError: If a box has no area, is not finite or lies outside.
            DetectorError: If a detector returns such boxes, or none at all.
            InputError: For boxes that are not one an image, or channels of a file.
        """
        if isinstance(image, (list, tuple)):
            each = boxes_of_each(boxes, len(image))
            return list(self.stream(zip(image, each, strict=True), channels=channels))
        [poses] = self._stream([(image, boxes)], None, AtOnce(), channels)  # no thread
        return poses

    def read(
        self,
        image: ImageSource,
        boxes: People = None,
        *,
        name: str | None = None,
        channels: str = "rgb",
    ) -> Photo:
        """Reads a picture for `stream`; of JPEG files no more pixels than are needed.

        Args:
            image: As in a call.
            boxes: As in a call.
            name: What messages call the picture; the path if None.
            channels: As in a call.

        Raises:
            ImageError: If the image cannot be read.
            BoxError: For bad boxes.
        """
        spare = functools.partial(spare_for_look, self._chosen(boxes), self.size)
        return read_photo(as_rgb(image, channels), spare, name)

    def stream(
        self,
        images: Iterable[Pictured],
        *,
        on_error: Callable[[Any, Exception], object] | None = None,
        channels: str = "rgb",
    ) -> Iterator[list[Pose]]:
        """Poses of the people in many images; people of several images share a batch.

        Files are read by `workers`, ahead of time, and crops are cut by them as a batch fills,
        however many people an image shows; all else is done by the caller's thread.

        Args:
            images: Images, or what `read` gave; or pairs of such and boxes as in a call. Drawn from
                the caller's thread, not more at once than fill a batch.
            on_error: Called with an image that cannot be read, or whose boxes are bad, and the
                error; the stream goes on, with no poses in that image's place. If None the error
                is raised.
            channels: As in a call.

        Yields:
            The poses of each image, in order, as soon as they are known.

        Raises:
            Exception: See a call; and whatever `images` raises. It comes in its turn: the poses of
                all images before are yielded first.
        """
        networks.check_many(images)
        # Threads start as they are needed.
        with ThreadPoolExecutor(self.workers) if self.workers else AtOnce() as pool:
            yield from self._stream(images, on_error, pool, channels)

    @torch.inference_mode()
    def heatmaps(self, crops: Tensor) -> Tensor:
        """Heatmaps (B, K, H/4, W/4) of normalised crops (B, 3, H, W), with the flip test if set."""
        networks.check_evaluating("Predictor", self.model)
        fit = crops.shape[-2:], self.skeleton.num_keypoints, self.model
        maps = networks.last_maps(self.model(crops), *fit)
        if self.flip_test:
            mirrored = networks.last_maps(self.model(crops.flip(-1)), *fit)
            maps = (maps + flip_back(mirrored, self.skeleton.flip_permutation)) / 2
        return maps

    def _stream(
        self,
        images: Iterable[Pictured],
        on_error: Callable[[Any, Exception], object] | None,
        pool: Executor,
        channels: str,
    ) -> Iterator[list[Pose]]:
        def read(image: ImageSource | Photo, boxes: People) -> Photo:
            return image if isinstance(image, Photo) else self.read(image, boxes, channels=channels)

        batches = Batches(self._poses, self.batch_size)
        chosen = ((image, self._chosen(boxes)) for image, boxes in map(networks.as_pair, images))
        room = lambda: min(max(1, self.workers), self.batch_size - len(batches.waiting))  # noqa: E731
        for source, reading, boxes in ahead(begun(chosen, pool, read), room):
            crops: tuple[int, Iterable[Crop]] = 0, ()
            try:
                photo = reading.result()
                people = people_in(photo, boxes)
                if photo.shrink > 1:
                    photo = photo.finer(spare_for_crops(people, self.size))
                crops = len(people), self._crops(photo, people, pool)
            except Exception as error:  # of any kind: what is done must not be lost
                ours = isinstance(error, (GatedPoseError, OSError))
                if on_error is None or isinstance(source, Future) or not ours:
                    yield from batches.known()
                    raise
                on_error(source, error)
            yield from batches.add(*crops)
        yield from batches.known()

    def _chosen(self, boxes: People) -> Any:
        """Boxes as they are given, or what finds them."""
        boxes = self.finder or WHOLE if boxes is None else boxes
        closer = isinstance(boxes, str) and boxes == WHOLE and not self._own_joints
        return self._closer_look if closer else boxes

    def _crops(self, photo: Photo, people: Tensor, pool: Executor) -> Iterator[Crop]:
        pixels, people = photo.pixels.to(self.device), people.to(self.device)
        matrices = crop_matrices(people[:, :4], self.size)
        edge = torch.tensor(photo.size[::-1], device=self.device)  # width, height
        each = matrices.new_tensor((photo.shrink, photo.shrink, 1.0))
        for matrix, person in zip(matrices, people, strict=True):
            yield pool.submit(self._crop, pixels, matrix * each).result, matrix, person, edge

    def _crop(self, pixels: Tensor, matrix: Tensor) -> Tensor:
        return crop_image(pixels, matrix, self.size, self.mean).sub_(self.mean).div_(self.std)

    @torch.inference_mode()
    def _poses(self, crops: list[Crop]) -> list[Pose]:
        pictures, matrices, boxes, edges = (list(part) for part in zip(*crops, strict=True))
        batch = torch.stack([picture() for picture in pictures])
        maps = self.heatmaps(batch.to(self.dtype))
        networks.check_finite(maps, self.model)
        located, peaks = decode(maps, self.decoder)
        scores = peaks.float().cpu().numpy()
        scores = scores if self.calibration is None else self.calibration(scores)
        keypoints = transform_points(invert(torch.stack(matrices)), located)
        inside = ((keypoints >= 0) & (keypoints <= torch.stack(edges)[:, None])).all(dim=-1)
        scores = scores * inside.cpu().numpy()
        return [
            Pose(
                points.cpu().numpy(),
                score,
                box[:4].cpu().numpy(),
                self.skeleton,
                box_score=None if box[4].isnan() else float(box[4]),
                trust=self.trust,
            )
            for points, score, box in zip(keypoints, scores, boxes, strict=True)
        ]
