"""From images to poses: the whole way, with networks whose answer is known."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import gatedpose
from gatedpose.errors import BoxError, ImageError, InputError, InputTypeError, WeightsError
from gatedpose.geometry import crop_matrices, transform_points
from gatedpose.heatmaps import encode
from gatedpose.media.demo import demo_image
from gatedpose.models.base import HeatmapNetwork
from gatedpose.predict import predictor as predict
from gatedpose.predict.finder import PersonFinder
from gatedpose.predict.predictor import Predictor
from gatedpose.skeleton import LSP14, Skeleton

THREE = Skeleton("three", ("right dot", "left dot", "middle dot"), ((0, 1),), ((0, 2), (1, 2)))
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))


class DotFinder(HeatmapNetwork):
    """Finds a red, a green and a blue dot: its heatmaps are colour, normalisation undone."""

    def __init__(self) -> None:
        super().__init__(3, 3, 3, 1, 4)
        self.stem = nn.Conv2d(3, 3, 1)
        self.calls: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.calls.append(len(images))
        mean = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)
        std = torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)
        colour = images * std + mean
        others = colour.sum(dim=1, keepdim=True) - colour
        return nn.functional.avg_pool2d((colour - others).clamp(0, 1), 4).unsqueeze(1)


def draw_dots(width: int, height: int, points: np.ndarray, radius: float) -> Image.Image:
    """Round dots with soft edges, centred on continuous coordinates, on black."""
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    picture = np.zeros((height, width, 3))
    for (px, py), colour in zip(points, COLOURS, strict=True):
        distance = np.hypot(x[None] - px, y[:, None] - py)
        cover = np.clip(radius + 0.5 - distance, 0, 1)[..., None]
        picture = picture * (1 - cover) + cover * np.array(colour)
    return Image.fromarray(picture.round().astype(np.uint8))


@pytest.fixture
def dots() -> tuple[Image.Image, np.ndarray]:
    points = np.array([[130.3, 60.8], [70.2, 120.5], [100.0, 90.25]])
    return draw_dots(220, 180, points, 5), points


@pytest.fixture
def finder() -> DotFinder:
    return DotFinder()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("shape", [(3, 24, 32), (1, 4, 24, 32), (2, 3, 12, 16)])
def test_networks_of_ones_own_whose_maps_would_be_misread(flip: bool, shape: list[int]) -> None:
    """Without stacks, of another number of joints, or of cells of 8 pixels."""
    model = nn.Conv2d(3, 1, 1)
    model.num_keypoints = 3  # type: ignore[assignment]
    model.register_forward_hook(lambda module, images, out: torch.zeros(len(out), *shape))
    predictor = Predictor(model, THREE, size=(96, 128), flip_test=flip)
    with pytest.raises(InputError, match=r"must give heatmaps \(B, stacks, 3, 24, 32\) of inputs"):
        predictor(torch.zeros(3, 40, 60, dtype=torch.uint8), "whole")


@pytest.mark.parametrize("found", [(torch.zeros(1, 3, 24, 32),), {"maps": 1}, torch.tensor(1.0)])
def test_networks_of_ones_own_that_give_something_else(found: object) -> None:
    model = nn.Conv2d(3, 1, 1)
    model.num_keypoints = 3  # type: ignore[assignment]
    model.register_forward_hook(lambda module, images, out: found)
    predictor = Predictor(model, THREE, size=(96, 128))
    with pytest.raises(InputError, match=rf"must give .*got {type(found).__name__}; of \(B, 3, 24"):
        predictor(torch.zeros(3, 40, 60, dtype=torch.uint8), "whole")


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("box", [None, [50.0, 40.0, 150.0, 140.0], [-30.0, 20.0, 170.0, 150.0]])
@pytest.mark.parametrize("size", [(256, 256), (256, 192)])
def test_dots_are_found_where_they_are(
    dots: tuple[Image.Image, np.ndarray],
    finder: DotFinder,
    box: list[float] | None,
    flip: bool,
    size: tuple[int, int],
) -> None:
    image, points = dots
    # A colour network does not know left from right: mirrored, red stays red. The skeleton of the
    # flip test must therefore exchange nothing.
    skeleton = Skeleton("colours", THREE.joints, (), THREE.limbs) if flip else THREE
    predictor = Predictor(finder, skeleton, flip_test=flip, size=size, decoder="softargmax")
    [pose] = predictor(image, None if box is None else [box])
    assert np.abs(pose.keypoints - points).max() < 0.6
    assert pose.keypoints.dtype == pose.scores.dtype == np.float32
    assert (pose.scores > 0.75).all()
    assert pose.box.tolist() == pytest.approx(box or [0, 0, 220, 180])


def test_flip_test_exchanges_sides(finder: DotFinder) -> None:
    plain = Predictor(finder, THREE)
    flipped = Predictor(finder, THREE, flip_test=True)
    crops = torch.randn(2, 3, 64, 128)
    mirrored = finder(crops.flip(-1))[:, -1].flip(-1)[:, [1, 0, 2]]
    torch.testing.assert_close(
        flipped.heatmaps(crops), (plain.heatmaps(crops) + mirrored) / 2, rtol=0, atol=1e-6
    )


def test_sources_agree_and_batches_do_not_matter(
    dots: tuple[Image.Image, np.ndarray], tmp_path: Path
) -> None:
    image, _ = dots
    image.save(tmp_path / "dots.png")
    array = np.asarray(image)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    boxes = [[50.0, 40.0, 150.0, 140.0], [10.0, 0.0, 200.0, 180.0], [60.0, 50.0, 140.0, 130.0]]
    sources = [image, tmp_path / "dots.png", str(tmp_path / "dots.png"), array, tensor]
    expected = None
    for batch_size in (1, 2, 32):
        finder = DotFinder()
        predictor = Predictor(finder, THREE, batch_size=batch_size)
        results = list(predictor.stream((source, boxes) for source in sources))
        assert [len(poses) for poses in results] == [3] * len(sources)
        assert max(finder.calls) == min(batch_size, 15)
        keypoints = np.stack([[pose.keypoints for pose in poses] for poses in results])
        expected = keypoints[0] if expected is None else expected
        np.testing.assert_allclose(keypoints, np.broadcast_to(expected, keypoints.shape), atol=1e-3)


def test_a_model_in_training_mode_is_refused(finder: DotFinder) -> None:
    predictor, image = Predictor(finder, THREE), Image.new("RGB", (9, 8))
    finder.train()
    with pytest.raises(ValueError, match=r"in training mode; call model\.eval\(\)"):
        predictor(image, "whole")
    finder.eval()
    assert len(predictor(image, "whole")) == 1


def test_stream_yields_as_it_goes(dots: tuple[Image.Image, np.ndarray], finder: DotFinder) -> None:
    for lone in ("photo.jpg", Path("photo.jpg"), Image.new("RGB", (9, 8))):
        with pytest.raises(TypeError, match=r"stream: takes several images, got a lone"):
            list(Predictor(finder, THREE).stream(lone))  # type: ignore[arg-type]
    for wrong, message in (
        ({"a.jpg": [[0, 0, 9, 9]]}, "a mapping"),
        (torch.zeros(3, 9, 8), "of one"),
    ):
        with pytest.raises(TypeError, match=f"stream: .*{message}"):
            list(Predictor(finder, THREE).stream(wrong))  # type: ignore[arg-type]
    assert list(Predictor(finder, THREE).stream([])) == []
    image, _ = dots
    read = []

    def images() -> Iterator[tuple[Image.Image, None]]:
        for number in range(6):
            read.append(number)
            yield image, None

    stream = Predictor(finder, THREE, batch_size=2).stream(images())
    next(stream)
    assert read == [0, 1]
    alone, paired = Predictor(finder, THREE).stream([image, (image, None)])
    assert alone == paired


class WatchedPath:
    """A path that notes which threads read it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.threads: set[threading.Thread] = set()

    def __fspath__(self) -> str:
        self.threads.add(threading.current_thread())
        return str(self.path)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_workers_read_and_the_caller_detects(
    workers: int, dots: tuple[Image.Image, np.ndarray], finder: DotFinder, tmp_path: Path
) -> None:
    image, points = dots
    image.save(tmp_path / "dots.png")
    path, detected = WatchedPath(tmp_path / "dots.png"), WatchedPath(tmp_path / "dots.png")
    callers = []

    def detector(image: Tensor) -> list[list[float]]:
        callers.append(threading.current_thread())
        return [[40, 30, 160, 150]] * 2

    predictor = Predictor(finder, THREE, batch_size=4, workers=workers)
    pairs = [(path, None)] * 7 + [(detected, detector)] * 2
    results = list(predictor.stream(pairs))  # type: ignore[arg-type]
    assert [len(poses) for poses in results] == [1] * 7 + [2] * 2
    for [pose, *_] in results:
        assert np.abs(pose.keypoints - points).max() < 0.6
    here = threading.current_thread()
    assert callers == [here] * 2
    for source in (path, detected):
        assert (source.threads == {here}) if workers == 0 else (here not in source.threads)
    assert len(path.threads | detected.threads) <= max(1, workers)


def test_a_pil_image_that_is_not_yet_read_serves_many_boxes(
    dots: tuple[Image.Image, np.ndarray], finder: DotFinder, tmp_path: Path
) -> None:
    image, points = dots
    image.save(tmp_path / "dots.png")
    boxes = [[[50.0, 40.0, 150.0 + shift, 140.0]] for shift in range(20)]
    with Image.open(tmp_path / "dots.png") as lazy:
        results = list(Predictor(finder, THREE, workers=4).stream((lazy, box) for box in boxes))
    assert np.abs(np.stack([pose.keypoints for [pose] in results]) - points).max() < 0.6


@pytest.mark.parametrize("kind", ["array", "tensor", "PIL", "open file"])
def test_a_streams_giver_may_write_over_or_close_what_it_gave(
    kind: str, finder: DotFinder, tmp_path: Path
) -> None:
    points = [[[130.3, 60.8], [70.2, 120.5], [100, 90]], [[30, 40], [150, 140], [90, 100]]] * 6

    def images() -> Iterator[Any]:
        place = np.zeros((180, 220, 3), np.uint8)
        for some in points:
            place[:] = draw_dots(220, 180, np.array(some), 5)
            Image.fromarray(place).save(tmp_path / "dots.png")
            if kind in ("array", "tensor"):
                yield place if kind == "array" else torch.from_numpy(place).permute(2, 0, 1)
                continue
            file = tmp_path / "dots.png"
            with Image.open(file) if kind == "PIL" else file.open("rb") as lent:
                yield lent

    results = list(Predictor(finder, THREE, workers=4).stream(images()))
    assert np.abs(np.stack([pose.keypoints for [pose] in results]) - points).max() < 0.6


@pytest.mark.parametrize("workers", [0, 3])
def test_a_bad_photo_does_not_lose_those_before_it(
    workers: int, dots: tuple[Image.Image, np.ndarray], finder: DotFinder, tmp_path: Path
) -> None:
    """The 21st of 24 is bad, another has a bad box, all fit into one batch."""
    files = [tmp_path / f"{number}.png" for number in range(24)]
    for file in files:
        dots[0].save(file)
    files[20].write_bytes(b"no picture")
    boxes = {22: [[0.0, 0.0, 0.0, 9.0]]}
    pairs = [(file, boxes.get(number)) for number, file in enumerate(files)]
    predictor = Predictor(finder, THREE, workers=workers)
    stream = predictor.stream(iter(pairs))
    assert [len(next(stream)) for _ in range(20)] == [1] * 20
    with pytest.raises(ImageError, match=r"20\.png"):
        next(stream)
    told: list[tuple[object, Exception]] = []
    results = list(predictor.stream(pairs, on_error=lambda image, e: told.append((image, e))))
    assert [len(poses) for poses in results] == [1] * 20 + [0, 1, 0, 1]
    assert [(image, type(error)) for image, error in told] == [
        (files[20], ImageError),
        (files[22], BoxError),
    ]
    for poses in results[:20]:
        assert np.abs(poses[0].keypoints - dots[1]).max() < 0.6


@pytest.mark.parametrize("workers", [0, 3])
def test_none_is_an_error_like_others(
    workers: int, dots: tuple[Image.Image, np.ndarray], finder: DotFinder
) -> None:
    """OpenCV gives it for a file that it cannot read."""
    told: list[object] = []
    predictor = Predictor(finder, THREE, workers=workers)
    stream = predictor.stream(
        [dots[0], None, dots[0]],  # type: ignore[list-item]
        on_error=lambda image, error: told.append((image, type(error))),
    )
    assert [len(poses) for poses in stream] == [1, 0, 1]
    assert told == [(None, InputTypeError)]


def test_an_error_of_the_callers_own_comes_in_its_turn(
    dots: tuple[Image.Image, np.ndarray], finder: DotFinder
) -> None:
    def images() -> Iterator[tuple[Image.Image, None]]:
        for _ in range(3):
            yield dots[0], None
        raise ValueError("the list is torn")

    told: list[object] = []
    predictor = Predictor(finder, THREE, workers=2)
    stream = predictor.stream(images(), on_error=lambda *error: told.append(error))
    assert [len(next(stream)) for _ in range(3)] == [1] * 3
    with pytest.raises(ValueError, match="the list is torn"):
        next(stream)
    assert not told


def test_crops_are_cut_as_a_batch_fills(
    dots: tuple[Image.Image, np.ndarray], finder: DotFinder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred people in one picture: never more crops at once than a batch."""
    cut, crop_image = [0], predict.crop_image
    most = 0

    def count(*arguments: Any) -> Tensor:
        nonlocal most
        cut[0] += 1
        most = max(most, cut[0] - sum(finder.calls))
        return crop_image(*arguments)

    monkeypatch.setattr(predict, "crop_image", count)
    boxes = [[50.0, 40.0, 150.0 + number / 100, 140.0] for number in range(100)]
    poses = Predictor(finder, THREE, batch_size=8, size=(64, 64))(dots[0], boxes)
    assert most == 8
    assert cut[0] == sum(finder.calls) == 100
    assert [pose.box[2] for pose in poses] == pytest.approx([box[2] for box in boxes])


@pytest.mark.parametrize("decoder", ["softargmax", "dark"])
def test_coordinates_do_not_follow_autocast(finder: DotFinder, decoder: Any) -> None:
    points = np.array([[1330.3, 1960.8], [1270.2, 2020.5], [1300.0, 1990.25]])
    image = draw_dots(2048, 2400, points, 5)
    predictor = Predictor(finder, THREE, decoder=decoder, flip_test=False)
    boxes = [[1233.0, 1911.0, 1371.0, 2051.0], [1180.5, 1900.0, 1400.0, 2100.0]]
    plain = predictor(image, boxes)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = predictor(image, boxes)
    for one, other in zip(plain, rounded, strict=True):
        np.testing.assert_array_equal(one.keypoints, other.keypoints)
        assert np.abs(other.keypoints - points).max() < 0.6


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_coordinates_do_not_follow_the_default_dtype(dtype: torch.dtype) -> None:
    image = demo_image()
    predictor, finder = Predictor("fast"), PersonFinder()

    def found() -> list[np.ndarray]:
        poses = predictor(image, [[120.0, 20.0, 400.5, 500.0]]) + predictor(image, "whole")
        return [*(pose.keypoints for pose in poses), finder(image).numpy()]

    plain = found()
    torch.set_default_dtype(dtype)
    try:
        again = found()
    finally:
        torch.set_default_dtype(torch.float32)
    for one, other in zip(plain, again, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


def test_networks_built_in_double_precision_find_the_same() -> None:
    wanted = Predictor("fast")(demo_image())
    torch.set_default_dtype(torch.float64)
    try:
        found = Predictor("fast")(demo_image())
    finally:
        torch.set_default_dtype(torch.float32)
    assert len(found) == len(wanted) == 1
    np.testing.assert_allclose(found[0].keypoints, wanted[0].keypoints, atol=0.1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_heatmaps_that_are_not_finite_are_refused(
    value: float, dots: tuple[Image.Image, np.ndarray], tmp_path: Path
) -> None:
    model = gatedpose.create_model("gated_hg_1s_68", num_keypoints=3)
    with torch.no_grad():
        model.heads[0].bias[1] = value
    for network in (model, gatedpose.optimize(model, dtype=torch.float32, compile=False)):
        with pytest.raises(WeightsError, match="gated_hg_1s_68 gave heatmaps that are not finite"):
            Predictor(network, THREE, size=(64, 64))(dots[0])


def test_a_wrapped_network_is_told() -> None:
    network = gatedpose.create_model("gated_hg_1s_68")
    with pytest.raises(TypeError, match=r"DataParallel does not say its num_keypoints.* \.module"):
        Predictor(nn.DataParallel(network))


SPAWN = """
import json, multiprocessing, os, sys
import gatedpose

def work(photo):
    [pose] = gatedpose.Predictor("gated_hg_1s_68.lsp")(photo, "whole")
    return os.getpid(), pose.to_numpy().tolist()

if __name__ == "__main__":
    here = work(sys.argv[1])  # has used PyTorch's threads
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(json.dumps([here, *pool.map(work, sys.argv[1:])]))
"""


@pytest.mark.slow
def test_processes_are_spawned(tmp_path: Path) -> None:
    """As the questions and answers say; a fork would wait for ever."""
    photo, script = demo_image(), tmp_path / "work.py"
    script.write_text(SPAWN)
    command = [sys.executable, str(script), str(photo)]
    done = subprocess.run(command, check=True, timeout=300, capture_output=True, text=True)
    (parent, first), (child, second) = json.loads(done.stdout)
    assert len({parent, child, os.getpid()}) == 3
    [pose] = Predictor("gated_hg_1s_68.lsp")(photo, "whole")
    for found in (first, second):
        assert np.abs(np.array(found) - pose.to_numpy()).max() < 0.01


class Fixed(DotFinder):
    """Sees its three joints at the same places of every crop."""

    def forward(self, images: Tensor) -> Tensor:
        places = torch.tensor([[[128.0, 128.0], [16.0, 128.0], [128.0, 236.0]]])
        maps = encode(places, (64, 64), 1.5)
        return maps[:, None].expand(len(images), -1, -1, -1, -1)


def test_a_joint_outside_of_the_picture_has_no_score() -> None:
    picture = torch.zeros(3, 40, 60, dtype=torch.uint8)
    [pose] = Predictor(Fixed(), THREE)(picture, [[0, 0, 60, 40]])
    # A square of 75 pixels about (30, 20), from -7.5 to 67.5 and from -17.5 to 57.5.
    wanted = [[30, 20], [-7.5 + 75 * 16 / 256, 20], [30, -17.5 + 75 * 236 / 256]]
    np.testing.assert_allclose(pose.keypoints, wanted, atol=0.3)
    assert pose.scores[0] > 0.8
    assert pose.scores[1:].tolist() == [0, 0]
    assert pose.found.tolist() == [True, False, False]


def test_model_is_left_in_eval_and_without_gradient(
    dots: tuple[Image.Image, np.ndarray], finder: DotFinder
) -> None:
    finder.train()
    predictor = Predictor(finder, THREE)
    assert not finder.training
    assert not predictor.heatmaps(torch.randn(1, 3, 64, 64)).requires_grad


def test_zoo_model_takes_its_skeleton_and_size() -> None:
    model = gatedpose.create_model("gated_hg_1s_68", num_keypoints=14, width=8)
    predictor = Predictor(model)
    assert predictor.skeleton is LSP14
    assert predictor.size == (256, 256)
    assert len(predictor(np.zeros((70, 90, 3), dtype=np.uint8), "whole")[0].scores) == 14


@pytest.mark.parametrize(
    ("keypoints", "options", "message"),
    [
        (3, {}, r"which joints do the 3 heatmaps"),
        (3, {"skeleton": LSP14}, r"'lsp14' has 14 joints, the model has 3"),
        (14, {"decoder": "best"}, r"decoder must be one of 'argmax'"),
    ],
)
def test_bad_predictor(keypoints: int, options: dict[str, object], message: str) -> None:
    model = gatedpose.create_model("gated_hg_1s_68", num_keypoints=keypoints, width=8)
    with pytest.raises(ValueError, match=message):
        Predictor(model, **options)  # type: ignore[arg-type]


def test_bad_boxes_and_images(finder: DotFinder, tmp_path: Path) -> None:
    predictor = Predictor(finder, THREE)
    image = np.zeros((40, 60, 3), dtype=np.uint8)
    with pytest.raises(BoxError, match="has no area"):
        predictor(image, [[0, 0, 0, 10]])
    assert predictor(image, []) == []
    with pytest.raises(FileNotFoundError):
        predictor(tmp_path / "absent.png")


def test_round_trip_has_no_bias() -> None:
    """Image -> crop -> heatmap -> crop -> image, through a network that is told the truth."""
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(64, 3, 2, generator=generator) * 60 + 70
    boxes = torch.tensor([[60.0, 55.0, 140.0, 140.0]]).expand(64, 4)

    class Oracle(DotFinder):
        def forward(self, images: Tensor) -> Tensor:
            inside = transform_points(crop_matrices(boxes, (256, 256)), points)
            return encode(inside, (64, 64), 1.5).unsqueeze(1)

    poses = Predictor(Oracle(), THREE, batch_size=64)(np.zeros((200, 200, 3), np.uint8), boxes)
    errors = np.stack([pose.keypoints for pose in poses]) - points.numpy()
    assert np.abs(errors).max() < 0.02
    assert np.abs(errors.mean(axis=(0, 1))).max() < 0.002


def test_several_images_need_several_boxes(finder: DotFinder) -> None:
    predictor, pictures = Predictor(finder, THREE), [np.zeros((64, 64, 3), np.uint8)] * 4
    for boxes in ([1, 2, 30, 40], np.array([1, 2, 30, 40]), torch.tensor([1, 2, 30, 40])):
        with pytest.raises(ValueError, match=r"4 images need .*, got one row of numbers"):
            predictor(pictures, boxes)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="got a dict of 4"):
        predictor(pictures, {"a.jpg": 1, "b.jpg": 2, "c.jpg": 3, "d.jpg": 4})  # type: ignore[call-overload]
    with pytest.raises(ValueError, match=r"may be a class: give boxes\[:, :5\]"):
        predictor(pictures[0], [[1, 2, 30, 40, 0.9, 0]])


def test_what_is_no_stream_of_images_is_told(finder: DotFinder) -> None:
    predictor = Predictor(finder, THREE)
    with pytest.raises(InputTypeError, match="takes images, a list for example, got 5"):
        list(predictor.stream(5))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="pairs of an image and its boxes; got a tuple of 3"):
        list(predictor.stream([("a", "b", "c")]))  # type: ignore[list-item]


def test_a_bad_name_is_an_error_like_others(finder: DotFinder) -> None:
    bad: list[Exception] = []
    image = np.zeros((40, 60, 3), np.uint8)
    stream = Predictor(finder, THREE).stream(
        [("\0.jpg", "whole"), (image, "whole")], on_error=lambda _, error: bad.append(error)
    )
    assert [len(poses) for poses in stream] == [0, 1]
    assert [type(error) for error in bad] == [ImageError]


def test_finders_are_no_networks_of_joints() -> None:
    with pytest.raises(
        InputError, match=r"gated_finder_320\.people finds people, not their joints"
    ):
        Predictor("gated_finder_320")


@pytest.mark.skipif(torch.cuda.is_available(), reason="0 is a GPU here")
def test_a_number_is_a_gpu(finder: DotFinder) -> None:
    for number in (0, "0"):
        with pytest.raises(InputError, match="the device '0' cannot be used"):
            Predictor(finder, THREE, device=number)


def test_joints_are_guessed_aloud(caplog: pytest.LogCaptureFixture) -> None:
    Predictor(gatedpose.create_model("gated_hg_1s_68", pretrained=True))
    assert "taken for those" not in caplog.text
    with pytest.warns(UserWarning, match="untrained"):
        Predictor(gatedpose.create_model("gated_hg_1s_68", num_keypoints=17, width=8))
    assert (
        "17 heatmaps does not say which joints they are: they are taken for those of coco17"
        in caplog.text
    )
