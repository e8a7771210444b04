"""Following people through a video: each box from the keypoints before it, each joint smoothed.

Identity is by box alone: two people who change places behind each other may change numbers.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gatedpose.boxmaps import overlaps
from gatedpose.errors import InputError, InputTypeError, check_range
from gatedpose.geometry import Boxes, keypoints_to_box
from gatedpose.media.images import ImageSource, read_image
from gatedpose.media.photos import as_rgb
from gatedpose.pose import Pose
from gatedpose.predict.people import WHOLE, Detector, find_people, placed_people
from gatedpose.predict.predictor import Predictor
from gatedpose.predict.smoothing import OneEuro

GROWTH = 1.1  # of the tight box of the joints: room to move until the next frame
# Of the way from the last box's size to the new one's: a box that shrinks as fast as it grows ends
# on the one limb that is sure, and stays there. Every few frames a wider one finds the person.
GROW, SHRINK = 0.5, 0.1
WIDER, WIDER_EVERY = 1.5, 5  # factor, frames
MIN_JOINTS = 4  # confident ones; fewer do not say where a person is
# How far, in sides of the box where somebody was lost, the same person is looked for again: walking
# takes about one height in the second of 30 frames, and a box may be of a part of a person.
NEAR = 1.5
UNSEEN = 2  # times the detector passes over somebody lost: joints are seen where nobody is, too
OVERLAP = 0.3  # intersection over union from which on two boxes are taken for one person
SAME = 0.05  # of a box's longer side: two skeletons that are nearer, by their median joint, are one


@dataclass
class _Track:
    """A person who is followed."""

    number: int  # from 0, never given twice
    start: Tensor  # (4,) box to go back to
    box: Tensor  # (4,) where the person is looked for next
    seen: int = 0  # frame of the last box of the detector that is about the person
    lost_since: int | None = None  # frame since which nobody is seen; None while somebody is
    smooth: OneEuro | None = None  # filter of the joints

    @property
    def lost(self) -> bool:
        """Whether nobody is seen."""
        return self.lost_since is not None

    def restart(self, box: Tensor) -> None:
        """Has the person looked for in another place."""
        self.box, self.smooth = box, None


class Tracker:
    """Poses of the people in a video, frame by frame; each person keeps a number.

    A person's next box is the tight box of the confident joints, grown a little; its centre is
    taken over at once, a larger size by half, a smaller one slowly; now and then a wider box is
    tried, too. Whose mean score falls below `min_confidence`, who ends on another's skeleton, or
    whom the detector passes over twice, is lost, and searched for: by the detector, not far away,
    or else in the first frame's box and, if alone, the whole frame. Others get a new number.

    Args:
        predictor: Finds keypoints in boxes.
        detector: Finds boxes of people in a frame, a uint8 tensor (3, H, W), such as
            `gatedpose.predict.detector.load_detector` makes: in the first frame if there are no
            `boxes`, when somebody is lost, when nobody is there, and every `detect_every` frames
            for newcomers. If None the predictor's own finder, unless there are `boxes`.
        boxes: People of the first frame, as in a call of `Predictor`, "whole" if it is one person;
            by the detector if None, and without one the whole frame.
        min_confidence: Mean score of the joints below which a person is lost.
        detect_every: Frames after which the detector looks again, and somebody lost is given up.
        smooth: Makes the filter of a person's joints, such as
            `gatedpose.predict.smoothing.joint_filter`; none if None.

    Raises:
        ValueError: If `detect_every` is not positive, or what is called cannot be.
    """

    def __init__(
        self,
        predictor: Predictor,
        detector: Detector | None = None,
        *,
        boxes: Boxes | Literal["whole"] | None = None,
        min_confidence: float = 0.3,
        detect_every: int = 30,
        smooth: Callable[[], OneEuro] | None = None,
    ) -> None:
        check_range("Tracker: detect_every, frames,", detect_every, (1, 10**9))
        check_range("Tracker: min_confidence", min_confidence, (0.0, 1.0))
        for name, tool in (("predictor", predictor), ("detector", detector), ("smooth", smooth)):
            if not (tool is None or callable(tool)):
                raise InputTypeError(f"Tracker: {name} is called, got {tool!r:.80}")
        if detector is None and boxes is None:
            detector = predictor.finder
        self.predictor, self.detector, self.boxes = predictor, detector, boxes
        self.min_confidence, self.detect_every, self.smooth = min_confidence, detect_every, smooth
        self._tracks: list[_Track] = []
        self._numbers = itertools.count()
        self._frame = -1
        self._size = torch.Size()  # (height, width) of the last frame

    def __call__(
        self, image: ImageSource, time: float | None = None, *, channels: str = "rgb"
    ) -> list[Pose]:
        """Poses of the people in the next frame.

        Args:
            image: Anything that `gatedpose.media.images.read_image` reads.
            time: Seconds, later than that of the frame before; needed by `smooth` only.
            channels: "bgr" for arrays and tensors as OpenCV gives them.

        Returns:
            A pose with its `track` for each person, by number. Whoever is lost is left out if
            there is a detector, and given with low scores if not.

        Raises:
            BoxError: For bad boxes of the first frame.
            DetectorError: If the detector returns no boxes.
            ValueError: If smoothing lacks the time.
        """
        if self.smooth and time is None:
            raise InputError("Tracker: smoothing needs the time of each frame in seconds")
        if time is not None:
            check_range("Tracker: time", time, (-1e12, 1e12))
        pixels = read_image(as_rgb(image, channels))
        if not self._size:
            self._start(*pixels.shape[1:])
        elif pixels.shape[1:] != self._size:
            self._rescale(*pixels.shape[1:])
        self._size = pixels.shape[1:]
        self._frame += 1
        due = not self._tracks or (self._frame and self._frame % self.detect_every == 0)
        detected = bool(self.detector and due)
        placed = self._search(pixels) if detected else []
        followed = [
            track for track in self._tracks if not (self.detector and track.lost) or track in placed
        ]
        poses = self._locate(pixels, followed)
        if not detected and any(track.lost for track in self._tracks):
            poses |= self._locate(pixels, self._search(pixels))
        if self.detector:
            self._tracks = [track for track in self._tracks if not self._given_up(track)]
        shown = [track for track in self._tracks if not (self.detector and track.lost)]
        return [self._smoothed(track, poses[track.number], time) for track in shown]

    def _start(self, height: int, width: int) -> None:
        found_later = [] if self.detector else WHOLE
        boxes = placed_people(found_later if self.boxes is None else self.boxes, height, width)
        self._tracks = [_Track(next(self._numbers), box, box) for box in boxes[:, :4]]

    def _rescale(self, height: int, width: int) -> None:
        """Goes on where frames have another size from now on, as those of some streams."""
        ratio = torch.tensor([width / self._size[1], height / self._size[0]]).repeat(2)
        for track in self._tracks:
            track.start = track.start * ratio
            track.restart(track.box * ratio)

    def _locate(self, pixels: Tensor, tracks: Sequence[_Track]) -> dict[int, Pose]:
        """Poses in the boxes of tracks, by number; says where to look next, or who is lost."""
        if not tracks:
            return {}
        boxes = torch.stack([track.box for track in tracks])
        poses = self.predictor(pixels, boxes)
        if self._frame % WIDER_EVERY == WIDER_EVERY - 1:
            looks = zip(poses, self.predictor(pixels, _grown(boxes, WIDER)), strict=True)
            poses = [max(p, replace(w, box=p.box), key=_confidence) for p, w in looks]
        pairs = zip(tracks, poses, strict=True)
        seen = [(*pair, self._next_box(*pair, *pixels.shape[1:])) for pair in pairs]
        doubles, found = _doubles(seen), {}
        for track, pose, box in seen:
            if box is not None and (track in doubles or (track.lost and self._is_taken(box))):
                box, pose = None, replace(pose, scores=np.zeros_like(pose.scores))
            found[track.number] = replace(pose, track=track.number)
            if box is not None:
                track.box, track.lost_since = box, None
            elif track.lost_since is None:
                track.lost_since = self._frame
        return found

    def _is_taken(self, box: Tensor) -> bool:
        """Whether it is about somebody who is followed already."""
        return _is_among(box, [track.box for track in self._tracks if not track.lost])

    def _next_box(self, track: _Track, pose: Pose, height: int, width: int) -> Tensor | None:
        """Where the person will be; None if the pose does not say."""
        sure = pose.found
        if _confidence(pose) < self.min_confidence or sure.sum() < min(MIN_JOINTS, len(sure)):
            return None
        tight = keypoints_to_box(torch.from_numpy(pose.keypoints), torch.from_numpy(sure))
        size, last = GROWTH * (tight[2:] - tight[:2]), track.box[2:] - track.box[:2]
        if last[0] < width or last[1] < height:  # else it is the whole frame, and says nothing
            size = last + torch.where(size > last, GROW, SHRINK) * (size - last)
        centre = (tight[:2] + tight[2:]) / 2
        box = torch.cat((centre - size / 2, centre + size / 2))
        inside = (box[2:] > 0).all() and box[0] < width and box[1] < height
        return box if inside else None

    def _search(self, pixels: Tensor) -> list[_Track]:
        """Gives those who are lost, and newcomers, a box to be looked for in; returns them."""
        if not self.detector:
            for track in (lost := [track for track in self._tracks if track.lost]):
                track.restart(self._likeliest(pixels, track))
            return lost
        boxes = find_people(self.detector, pixels)[:, :4]
        for track in self._tracks:
            if _is_among(track.box, boxes):
                track.seen = self._frame
            elif not track.lost and self._frame - track.seen >= UNSEEN * self.detect_every:
                track.lost_since = self._frame
        lost = [track for track in self._tracks if track.lost]
        placed: list[_Track] = []
        for box in boxes:
            if self._is_taken(box) or _is_among(box, [track.box for track in placed]):
                continue
            near = [track for track in lost if _distance(box, track.box) <= NEAR]
            if near:
                track = min(near, key=lambda track: _distance(box, track.box))
                lost.remove(track)
                track.restart(box)
            else:
                track = _Track(next(self._numbers), box, box)
                self._tracks.append(track)
            track.seen = self._frame
            placed.append(track)
        return placed

    def _likeliest(self, pixels: Tensor, track: _Track) -> Tensor:
        """The first frame's box or, for who is alone, the whole frame."""
        if len(self._tracks) > 1:
            return track.start
        places = torch.stack((track.start, torch.tensor([0.0, 0.0, *self._size[::-1]])))
        best = max(self.predictor(pixels, places), key=_confidence)
        return torch.from_numpy(best.box)

    def _given_up(self, track: _Track) -> bool:
        return track.lost and self._frame - (track.lost_since or 0) >= self.detect_every

    def _smoothed(self, track: _Track, pose: Pose, time: float | None) -> Pose:
        if not self.smooth or time is None or track.lost:
            return pose
        track.smooth = track.smooth or self.smooth()
        side = float((pose.box[2:] - pose.box[:2]).max())
        keypoints = track.smooth(time, pose.keypoints, side)
        return replace(pose, keypoints=keypoints.astype(np.float32))


def _confidence(pose: Pose) -> float:
    return float(pose.scores.mean())


def _grown(boxes: Tensor, factor: float) -> Tensor:
    """Boxes (N, 4) about the same centres."""
    low, high = boxes[:, :2], boxes[:, 2:]
    more = (factor - 1) / 2 * (high - low)
    return torch.cat((low - more, high + more), dim=1)


def _doubles(seen: Iterable[tuple[_Track, Pose, Tensor | None]]) -> list[_Track]:
    """Of two tracks that came upon one skeleton, as behind somebody, the one that moved farther."""
    doubles = []
    sure = [(track, pose, box) for track, pose, box in seen if box is not None and not track.lost]
    for (one, pose, box), (other, like, there) in itertools.combinations(sure, 2):
        apart = np.linalg.norm(pose.keypoints - like.keypoints, axis=1)[pose.found & like.found]
        if len(apart) and np.median(apart) < SAME * float((box[2:] - box[:2]).max()):
            nearer = _distance(box, one.box) <= _distance(there, other.box)
            doubles.append(other if nearer else one)
    return doubles


def _is_among(box: Tensor, others: Iterable[Tensor]) -> bool:
    """Whether one of the others is about the same person: by intersection over union."""
    return any(overlaps(box[None], other[None]) >= OVERLAP for other in others)


def _distance(box: Tensor, other: Tensor) -> float:
    """Between the centres, in longer sides of the larger box."""
    side = torch.cat((box[2:] - box[:2], other[2:] - other[:2])).max()
    return float((box[:2] + box[2:] - other[:2] - other[2:]).norm() / (2 * side))
