"""One person's keypoints, and the forms that other libraries take them in."""

import numbers
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL.Image import Image

from gatedpose.errors import (
    InputError,
    InputTypeError,
    MissingPackageError,
    check_range,
    require,
)
from gatedpose.media.images import ImageSource, to_pil
from gatedpose.skeleton import COCO17, Skeleton, same_joints

# The least score of a joint that counts as found: of heatmaps' peaks, and of calibrated scores
# (chosen in docs/research/people.md).
TRUST, TRUST_CALIBRATED = 0.2, 0.46


@dataclass(frozen=True, eq=False)
class Pose:
    """One person's keypoints.

    Attributes:
        keypoints: (K, 2) float32, (x, y) in pixels of the image; the centre of the first pixel is
            (0.5, 0.5).
        scores: (K,) float32 in [0, 1], 0 outside of the picture. Of calibrated weights the chance
            that the joint lies within a fifth of the torso; of others the height of the heatmap's
            peak. Low for a joint that is hidden.
        box: (4,) float32, (x0, y0, x1, y1), as given.
        skeleton: Names, flip pairs and limbs of the K joints.
        track: Number of the person in a video; see `gatedpose.predict.tracker`.
        box_score: How sure whoever found the box is, in [0, 1]; None if it was given without.
        trust: Score from which on a joint counts as found.
    """

    keypoints: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    box: npt.NDArray[np.float32]
    skeleton: Skeleton = field(repr=False)
    track: int | None = None
    box_score: float | None = None
    trust: float = TRUST

    def __eq__(self, other: object) -> bool:
        """Whether the other is a pose of the same numbers, to the last digit."""
        return isinstance(other, Pose) and all(
            np.array_equal(getattr(self, field.name), getattr(other, field.name))
            for field in fields(self)
        )

    @property
    def found(self) -> npt.NDArray[np.bool_]:
        """(K,), whether each joint counts as found. The others are guesses, or not to be seen."""
        return self.scores >= self.trust

    def draw(
        self,
        image: ImageSource,
        *,
        min_score: float | None = None,
        box: bool = False,
        channels: str = "rgb",
    ) -> Image:
        """A copy of the image with this person drawn on it.

        Args:
            image: Where the person is: anything that `gatedpose.media.images.read_image` reads.
            min_score: Joints below are drawn hollow, far below not at all; `trust` if None.
            box: Whether the box is drawn, too.
            channels: "bgr" for arrays and tensors as OpenCV gives them.

        Returns:
            See `gatedpose.draw`, which draws several people.
        """
        return draw(image, [self], min_score=min_score, boxes=box, channels=channels)

    def to_dict(self) -> dict[str, object]:
        """Plain numbers for JSON: track, box, box_score, and [x, y, score] of each joint by name.

        "unsure" lists the joints that are not `found`, by the rounded scores. Track and box_score
        are left out where there are none.
        """
        rows = self.to_numpy().astype(float).round(3).tolist()  # float32 has no short decimals
        joints = dict(zip(self.skeleton.joints, rows, strict=True))
        facts: dict[str, object] = {"box": self.box.astype(float).round(3).tolist()}
        if self.box_score is not None:
            facts["box_score"] = round(self.box_score, 3)
        facts["keypoints"] = joints
        facts["trust"] = self.trust
        facts["unsure"] = [name for name, row in joints.items() if row[2] < self.trust]
        return facts if self.track is None else {"track": self.track, **facts}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any], skeleton: Skeleton) -> "Pose":
        """The pose that `to_dict` made `facts` of, to a thousandth.

        Raises:
            ValueError: For facts that are missing or of another skeleton.
        """
        try:
            joints = np.array([facts["keypoints"][name] for name in skeleton.joints], np.float32)
            box = np.array(facts["box"], np.float32).reshape(4)
            track, sure = facts.get("track"), facts.get("box_score")
            trust = float(facts.get("trust", TRUST))
            return cls(joints[:, :2], joints[:, 2], box, skeleton, track, sure, trust)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"no pose of skeleton {skeleton.name!r}: {error!r}") from error

    def to_numpy(self) -> npt.NDArray[np.float32]:
        """(K, 3): x, y in pixels of the image, and score."""
        return np.column_stack((self.keypoints, self.scores))

    def to_coco(self, image_id: int | str, category_id: int = 1) -> dict[str, Any]:
        """The person in the format of COCO's results.

        Args:
            image_id: Of the image, as the annotations number it.
            category_id: Of the kind of thing; a person is 1.

        Returns:
            image_id, category_id, keypoints (3 J numbers x, y, confidence; 0 is the centre of the
            first pixel, as in COCO) and score, their mean confidence. The J joints are COCO's 17 in
            COCO's order if the skeleton has them all, else all K.
        """
        image, category = (  # JSON takes no numbers of NumPy's
            int(number) if isinstance(number, numbers.Integral) else number
            for number in (image_id, category_id)
        )
        rows, mine = self.to_numpy().astype(float), same_joints(COCO17.joints, self.skeleton.joints)
        if len(mine) == COCO17.num_keypoints:
            rows = rows[list(mine.values())]
        return {
            "image_id": image,
            "category_id": category,
            "keypoints": (rows - (0.5, 0.5, 0)).reshape(-1).round(4).tolist(),
            "score": round(float(rows[:, 2].mean()), 6),
        }


def draw(
    image: ImageSource,
    poses: Pose | Iterable[Pose],
    *,
    min_score: float | None = None,
    boxes: bool = False,
    channels: str = "rgb",
) -> Image:
    """A copy of the image with everybody drawn on it.

        gatedpose.draw("photo.jpg", gatedpose.predict("photo.jpg")).show()

    Args:
        image: Where the people are: anything that `gatedpose.media.images.read_image` reads.
        poses: Of this image: none, one or more.
        min_score: Joints below are drawn hollow, far below not at all; each pose's `trust` if None.
        boxes: Whether boxes are drawn, too.
        channels: "bgr" for arrays and tensors as OpenCV gives them.

    Returns:
        A picture of Pillow's, in RGB and of the same size: `.show()` opens it, `.save("a.jpg")`
        writes it.

    Raises:
        ImageError: If the image cannot be read.
        TypeError: For poses of several images.
    """
    from gatedpose.media.drawing import draw_people
    from gatedpose.media.photos import as_rgb

    if min_score is not None:
        check_range("draw: min_score", min_score, (0.0, 1.0))
    people, rgb = _people("draw", poses), as_rgb(image, channels)
    return to_pil(draw_people(rgb, people, boxes=boxes, min_score=min_score, scale=1))


def _people(what: str, poses: Pose | Iterable[Pose]) -> list[Pose]:
    """The people of one image, who may be one."""
    people = list(poses) if isinstance(poses, Iterable) else [poses]
    for person in people:
        if not isinstance(person, Pose):
            raise InputTypeError(
                f"{what}: takes the poses of one image, got a {type(person).__name__}; "
                "for several images call it once each"
            )
    return people


def to_supervision(poses: Pose | Iterable[Pose]) -> Any:
    """Poses of one image as `supervision.KeyPoints`, for its annotators and trackers.

    Args:
        poses: One person, or N with the same K joints, N at least 1.

    Returns:
        KeyPoints of N people: xy (N, K, 2), where 0 is the centre of the first pixel; `visible`,
        the joints that are `found`, which alone are drawn; confidences; the mean confidence of each
        person; class 0; and `data["track"]` of people who are followed.

    Raises:
        ImportError: Without supervision, or with one before 0.31; names the pip command.
        ValueError: Without poses.
    """
    supervision = require("supervision", "this needs supervision", "supervision>=0.31")
    people = _people("to_supervision", poses)
    if not people:
        raise InputError("to_supervision: there are no poses; use supervision.KeyPoints.empty()")
    scores, tracks = np.stack([pose.scores for pose in people]), [pose.track for pose in people]
    try:
        return supervision.KeyPoints(
            xy=np.stack([pose.keypoints for pose in people]) - np.float32(0.5),
            visible=np.stack([pose.found for pose in people]),
            class_id=np.zeros(len(people), dtype=int),
            keypoint_confidence=scores,
            detection_confidence=scores.mean(axis=1),
            data={} if None in tracks else {"track": np.array(tracks)},
        )
    except (AttributeError, TypeError) as error:
        message = f'this supervision is too old ({error}): pip install "supervision>=0.31"'
        raise MissingPackageError(message) from error
