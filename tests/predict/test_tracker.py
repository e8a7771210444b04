"""Boxes that follow people, and joints that hold still: hand-worked numbers and drawn videos."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gatedpose.errors import BoxError, DetectorError
from gatedpose.models.base import HeatmapNetwork
from gatedpose.pose import Pose
from gatedpose.predict.predictor import Predictor
from gatedpose.predict.smoothing import OneEuro, joint_filter
from gatedpose.predict.tracker import Tracker
from gatedpose.skeleton import Skeleton

H, W = 240, 400
SIX = Skeleton("six", ("a", "b", "c", "d", "e", "f"), (), ((0, 1), (2, 3), (4, 5)))
INKS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255), (0, 255, 255))
PERSON = np.array([[-15, -25], [15, -25], [-15, 0], [15, 0], [-15, 25], [15, 25]])  # joints


class InkFinder(HeatmapNetwork):
    """Heatmaps are nearness to the colours of the six joints: the answer is known."""

    def __init__(self) -> None:
        super().__init__(6, 3, 6, 1, 4)
        self.stem = nn.Conv2d(3, 6, 1)

    def forward(self, images: Tensor) -> Tensor:
        mean = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)
        std = torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)
        colours = (images * std + mean).unsqueeze(1)
        inks = torch.tensor(INKS).view(1, 6, 3, 1, 1) / 255
        near = (1 - (colours - inks).abs().amax(dim=2)).clamp_min(0) ** 4
        return nn.functional.avg_pool2d(near, 4).unsqueeze(1)


def scene(*centres: tuple[float, float]) -> Tensor:
    """A frame of people, each six squares of 9 x 9 pixels on black."""
    frame = torch.zeros(3, H, W, dtype=torch.uint8)
    for centre in centres:
        for (x, y), ink in zip((PERSON + centre).round().astype(int), INKS, strict=True):
            part = frame[:, max(0, y - 4) : max(0, y + 5), max(0, x - 4) : max(0, x + 5)]
            part[:] = torch.tensor(ink, dtype=torch.uint8).view(3, 1, 1)
    return frame


def around(*centres: tuple[float, float]) -> list[list[float]]:
    return [[x - 25, y - 40, x + 25, y + 40] for x, y in centres]


def centre(pose: Pose) -> list[float]:
    return pose.keypoints.mean(axis=0).tolist()


class StubDetector:
    """The user's edge: boxes as they are told, frame by frame, and a count of the calls."""

    def __init__(self, *answers: object) -> None:
        self.answers = itertools.chain(answers, itertools.repeat(answers[-1]))
        self.calls = 0

    def __call__(self, image: Tensor) -> Sequence[Sequence[float]]:
        assert image.shape == (3, H, W)
        self.calls += 1
        return next(self.answers)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(InkFinder(), SIX)


def test_one_euro_by_hand() -> None:
    """At 2 pi * 1 Hz * 0.1 s = 0.6283 the weight of a new value is 0.6283 / 1.6283 = 0.38587."""
    smooth = OneEuro(min_cutoff=1, beta=0)
    assert smooth(0.0, np.array([0.0, 5.0])).tolist() == [0, 5]
    assert smooth(0.1, np.array([1.0, 5.0])).tolist() == pytest.approx([0.38587, 5], abs=1e-5)
    # 0.38587 + 0.38587 * (1 - 0.38587)
    assert smooth(0.2, np.array([1.0, 5.0])).tolist() == pytest.approx([0.62284, 5], abs=1e-5)


def test_one_euro_follows_speed_by_hand() -> None:
    """Speed 10 / s, smoothed 3.8587; cutoff 1 + 0.5 * 3.8587 = 2.9294 Hz; weight 0.64795."""
    smooth = OneEuro(min_cutoff=1, beta=0.5)
    smooth(0.0, np.zeros(1))
    assert smooth(0.1, np.ones(1)).tolist() == pytest.approx([0.64795], abs=1e-5)
    near = OneEuro(min_cutoff=1, beta=0.5)  # twice as large, as near: the same but for the scale
    near(0.0, np.zeros(1), scale=2)
    assert near(0.1, np.full(1, 2.0), scale=2).tolist() == pytest.approx([2 * 0.64795], abs=3e-5)


def test_one_euro_steadies_what_is_still_and_lags_little_behind_motion() -> None:
    rate, size = 30, 200
    times = np.arange(120) / rate
    noise = np.random.default_rng(0).normal(0, 2, (120, 3, 2))
    smooth = joint_filter()
    still = np.stack([smooth(t, 100 + n, size) for t, n in zip(times, noise, strict=True)])
    assert still[30:].std(axis=0).mean() < 0.5 * noise[30:].std(axis=0).mean()

    speed = 300  # pixels a second: one and a half persons
    smooth = joint_filter()
    ramp = [float(smooth(t, np.array([speed * t]), size)[0]) for t in times]
    lag = (speed * times - ramp) / speed
    assert lag[30:].max() < 0.02  # seconds
    lazy = OneEuro(min_cutoff=1, beta=0)
    ramp = [float(lazy(t, np.array([speed * t]), size)[0]) for t in times]
    assert speed * times[-1] - ramp[-1] == pytest.approx(speed / (2 * np.pi), rel=0.01)  # 1 / tau


def test_bad_one_euro() -> None:
    endless = {"min_cutoff": np.inf}, {"speed_cutoff": np.inf}, {"beta": np.inf}
    for options in (
        {"min_cutoff": 0},
        {"speed_cutoff": -1},
        {"beta": -0.1},
        {"beta": np.nan},
        *endless,
    ):
        with pytest.raises(ValueError, match="cutoffs must be positive and beta at least 0"):
            OneEuro(**options)
    smooth = OneEuro()
    smooth(1.0, np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"later than 1.0 s, got \(2, 2\) at 1.0 s"):
        smooth(1.0, np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"need values \(2, 2\).*got \(3,\) at 2.0 s"):
        smooth(2.0, np.zeros(3))
    with pytest.raises(ValueError, match="scale must be positive, got 0"):
        smooth(2.0, np.zeros((2, 2)), scale=0)


def test_one_euro_keeps_its_own_numbers() -> None:
    smooth, again = OneEuro(), OneEuro()
    buffer = np.zeros(2)  # that a caller uses for every frame
    for time, value in enumerate((0.0, 4.0, 9.0)):
        buffer[:] = value
        given = smooth(time / 10, buffer)
        assert given.tolist() == again(time / 10, np.full(2, value)).tolist()
        given += 100


def test_one_euro_begins_anew_after_what_is_not_known() -> None:
    smooth, fresh = OneEuro(beta=1), OneEuro(beta=1)
    smooth(0.0, np.array([1.0, np.nan]))
    smooth(0.1, np.array([2.0, 5.0]))
    assert np.isnan(smooth(0.2, np.array([3.0, np.nan]))).tolist() == [False, True]
    for time, value in ((0.3, 7.0), (0.4, 8.0)):
        alone = fresh(time, np.array([value]))
        assert smooth(time, np.array([4.0, value]))[1] == pytest.approx(alone[0])


def test_the_box_follows_two_people(predictor: Predictor) -> None:
    path = [((60 + 8 * t, 60 + t), (340.0, 190 - 5 * t)) for t in range(14)]
    tracker = Tracker(predictor, boxes=around(*path[0]))
    for centres in path:
        poses = tracker(scene(*centres))
        assert [pose.track for pose in poses] == [0, 1]
        for pose, (x, y) in zip(poses, centres, strict=True):
            assert centre(pose) == pytest.approx([x + 0.5, y + 0.5], abs=2)
            assert pose.box[2] - pose.box[0] < 60  # it did not grow to hold both


def test_who_jumps_is_found_by_the_detector(predictor: Predictor) -> None:
    here, there, other = (60.0, 60.0), (120.0, 150.0), (230.0, 120.0)
    detector = StubDetector(around(other, there))
    tracker = Tracker(predictor, detector, boxes=around(here, other))
    for _ in range(3):
        assert len(tracker(scene(here, other))) == 2
    assert detector.calls == 0
    poses = tracker(scene(there, other))  # within the frame of the jump
    assert [pose.track for pose in poses] == [0, 1]
    assert centre(poses[0]) == pytest.approx([120.5, 150.5], abs=2)
    assert centre(poses[1]) == pytest.approx([230.5, 120.5], abs=2)
    assert detector.calls == 1


def test_who_comes_far_from_where_another_left_is_somebody_else(predictor: Predictor) -> None:
    here, far = (60.0, 60.0), (330.0, 180.0)
    tracker = Tracker(predictor, StubDetector(around(far)), boxes=around(here))
    numbers = [[p.track for p in tracker(scene(at))] for at in (here, here, far, far)]
    assert numbers == [[0], [0], [1], [1]]


@pytest.mark.parametrize("boxes", [None, around((60.0, 60.0))])
def test_who_jumps_is_found_in_the_whole_frame(
    predictor: Predictor, boxes: list[list[float]] | None
) -> None:
    tracker = Tracker(predictor, boxes=boxes)
    for place in [(60.0, 60.0)] * 3 + [(330.0, 180.0)] * 2:
        [pose] = tracker(scene(place))
    assert centre(pose) == pytest.approx([330.5, 180.5], abs=2)
    assert pose.track == 0
    assert pose.box[0] > 250  # the second frame after the jump looks close again


def test_who_is_gone_is_left_out_then_given_up(predictor: Predictor) -> None:
    """With a detector: the number comes back within `detect_every` frames, else a new one."""
    here = (60.0, 60.0)
    answers = [around(here), [], [], around(here), [], [], [], [], around(here)]
    tracker = Tracker(predictor, StubDetector(*answers), detect_every=3)
    shown = (True, False, False, True, False, False, False, False, True)
    frames = [scene(here) if there else scene() for there in shown]
    numbers = [[pose.track for pose in tracker(frame)] for frame in frames]
    assert numbers == [[0], [], [], [0], [], [], [], [], [1]]


def test_newcomers_get_a_number_when_the_detector_looks_again(predictor: Predictor) -> None:
    first, second = (60.0, 60.0), (330.0, 180.0)
    detector = StubDetector(around(first), around(second, first))
    tracker = Tracker(predictor, detector, detect_every=4)
    numbers = [[pose.track for pose in tracker(scene(first, second))] for _ in range(6)]
    assert numbers == [[0]] * 4 + [[0, 1]] * 2
    assert detector.calls == 2


def test_a_box_on_half_a_person_finds_back_to_the_whole(predictor: Predictor) -> None:
    """Four of six joints are sure enough to stay with; two people, so that no whole frame helps."""
    half, other = [175, 85, 225, 125], around((330.0, 180.0))
    tracker = Tracker(predictor, boxes=[half, *other])
    frames = [tracker(scene((200.0, 120.0), (330.0, 180.0)))[0] for _ in range(8)]
    assert frames[0].scores[4:].max() < 0.1 < 0.5 < frames[0].scores[:4].min()
    assert frames[-1].scores.min() > 0.5
    assert frames[-1].box[3] > 140
    sizes = [
        pose.box[2:] - pose.box[:2] for pose in frames
    ]  # the wider look is half as large again
    assert all((after < 1.3 * before).all() for before, after in itertools.pairwise(sizes))


def test_who_is_lost_does_not_take_over_another(predictor: Predictor) -> None:
    """The first walks to where the second was at the beginning, and the second is gone."""
    second = (250.0, 120.0)
    tracker = Tracker(predictor, boxes=around((60.0, 120.0), second))
    tracker(scene((60.0, 120.0), second))
    for x in range(70, 260, 10):
        first, lost = tracker(scene((float(x), 120.0)))
        assert centre(first) == pytest.approx([x + 0.5, 120.5], abs=2)
    assert lost.scores.tolist() == [0] * 6


def test_two_do_not_end_on_one_skeleton(predictor: Predictor) -> None:
    """The first goes behind the second, whom both boxes hold then, and comes out again."""
    there: list[tuple[float, float]] = []
    boxes = [[50, 80, 150, 160], [134, 80, 234, 160]]
    tracker = Tracker(predictor, lambda image: around(*there), boxes=boxes)
    places = []
    for xs in ((100.0, 184.0), (144.0,), (50.0, 144.0)):
        there = [(x, 120.0) for x in xs]
        poses = tracker(scene(*there))
        places.append({pose.track: round(centre(pose)[0] - 0.5) for pose in poses})
    assert places == [{0: 100, 1: 184}, {1: 144}, {0: 50, 1: 144}]


def test_who_the_detector_passes_over_twice_is_lost(predictor: Predictor) -> None:
    """The pose network may see joints where nobody is: here the second is a drawing on a wall."""
    first, wall = (60.0, 120.0), (250.0, 120.0)
    detector = StubDetector(around(first, wall), around(first))
    tracker = Tracker(predictor, detector, detect_every=2)
    seen = [[pose.track for pose in tracker(scene(first, wall))] for _ in range(7)]
    assert seen == [[0, 1]] * 4 + [[0]] * 3


def test_without_a_detector_the_lost_stay_with_low_scores(predictor: Predictor) -> None:
    tracker = Tracker(predictor, boxes=around((60.0, 60.0), (330.0, 180.0)))
    tracker(scene((60.0, 60.0), (330.0, 180.0)))
    poses = tracker(scene((330.0, 180.0)))
    assert [pose.track for pose in poses] == [0, 1]
    assert poses[0].scores.mean() < 0.3 < poses[1].scores.mean()


def test_who_leaves_the_frame_breaks_nothing(predictor: Predictor) -> None:
    tracker = Tracker(predictor, boxes=around((330.0, 120.0)))
    for t in range(20):
        assert len(tracker(scene((330.0 + 10 * t, 120.0)))) == 1


def test_frames_may_change_their_size(predictor: Predictor) -> None:
    people = (60.0, 100.0), (330.0, 140.0)
    tracker = Tracker(predictor, boxes=around(*people), smooth=joint_filter)
    for time, factor in enumerate((1, 1, 2, 2, 1)):
        frame = scene(*people).repeat_interleave(factor, 1).repeat_interleave(factor, 2)
        poses = tracker(frame, time)
        assert [pose.track for pose in poses] == [0, 1]
        for pose, place in zip(poses, people, strict=True):
            assert pose.scores.mean() > 0.3
            assert centre(pose) == pytest.approx([factor * x for x in place], abs=3 * factor)


def test_smoothing_steadies_the_joints(predictor: Predictor) -> None:
    generator = np.random.default_rng(0)
    shaking = [(200 + dx, 120 + dy) for dx, dy in generator.normal(0, 1.5, (60, 2))]
    spread = []
    for smooth in (None, joint_filter):
        tracker = Tracker(predictor, boxes=around((200.0, 120.0)), smooth=smooth)
        poses = [tracker(scene(place), i / 25)[0] for i, place in enumerate(shaking)]
        assert poses[0].keypoints.dtype == np.float32
        spread.append(np.stack([pose.keypoints for pose in poses])[20:].std(axis=0).mean())
    assert spread[1] < 0.6 * spread[0]


def test_smoothing_starts_anew_after_a_jump(predictor: Predictor) -> None:
    tracker = Tracker(
        predictor,
        StubDetector(around((330.0, 180.0))),
        boxes=around((60.0, 60.0)),
        smooth=joint_filter,
    )
    tracker(scene((60.0, 60.0)), 0.0)
    [pose] = tracker(scene((330.0, 180.0)), 0.04)
    assert centre(pose) == pytest.approx([330.5, 180.5], abs=2)


def test_boxes_are_taken_as_the_predictor_takes_them(predictor: Predictor) -> None:
    box = [20.0, 10.0, 150.0, 170.0]
    wanted = Tracker(predictor, boxes=[box])(scene((85, 90)))
    for boxes in (box, [[*box, 0.9]], torch.tensor([box])):
        assert Tracker(predictor, boxes=boxes)(scene((85, 90))) == wanted
    assert Tracker(predictor, boxes=[])(scene((85, 90))) == []


def test_bad_input(predictor: Predictor) -> None:
    with pytest.raises(ValueError, match="needs the time of each frame"):
        Tracker(predictor, smooth=joint_filter)(scene())
    for wrong in ({"smooth": True}, {"detector": "ssdlite320_mobilenet_v3_large"}):
        with pytest.raises(TypeError, match=f"Tracker: {next(iter(wrong))} is called, got "):
            Tracker(predictor, **wrong)
    tracker = Tracker(predictor, boxes=[[500, 0, 600, 50]])
    for _ in range(2):  # the next frame is the first one still
        with pytest.raises(BoxError, match="outside the image"):
            tracker(scene())
    with pytest.raises(DetectorError, match="StubDetector returned no boxes but a list"):
        Tracker(predictor, StubDetector([[1, 2, 3]]))(scene())


def test_people_are_looked_for_as_the_predictor_does() -> None:
    here, there = (60.0, 60.0), (330.0, 180.0)
    detector = StubDetector(around(here, there))
    tracker = Tracker(Predictor(InkFinder(), SIX, detector=detector))
    assert [pose.track for pose in tracker(scene(here, there))] == [0, 1]
    whole = Tracker(Predictor(InkFinder(), SIX, detector=detector), boxes="whole")
    [pose] = whole(scene(here))
    assert pose.box.tolist() == [0, 0, W, H]
    assert detector.calls == 1


def test_frames_of_opencv(predictor: Predictor) -> None:
    frame = scene((60.0, 60.0)).permute(1, 2, 0).numpy()[..., ::-1]
    [pose] = Tracker(predictor, boxes=around((60.0, 60.0)))(frame, channels="bgr")
    assert centre(pose) == pytest.approx([60.5, 60.5], abs=2)
