"""Looks for people by the pose network itself: whole pictures, and where no finder is sure."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gatedpose.geometry import keypoints_to_box
from gatedpose.pose import Pose
from gatedpose.predict.finder import PersonFinder

if TYPE_CHECKING:
    from gatedpose.predict.predictor import Predictor

MIN_JOINTS = 4  # that are found, for a box about them
GROWN = 1.15  # of the tight box of those joints
# Mean score of all joints from which on a whole picture surely shows a person. Measured with
# gated_hg_1s_68.lsp: three in four of 160 everyday photos reach it, and 3 of 144 pictures and
# pieces of pictures without people.
SURE = 0.38
SURE_CALIBRATED = 0.5  # the same where scores are the joints' chances to be right
UNSURE = 0.03  # score from which on a finder's box is worth a closer look, where there is no other
# A box that the finder is less sure of counts only if its joints are `LIKELY` enough on average.
# With gated_hg_2s_128.people that leaves out the boxes in 19 of the 67 pictures of nobody in which
# the finder finds somebody, and 1 of 473 people of Stanford 40 (`examples/second_look.py`).
DOUBT = 0.7
LIKELY = 1.0  # times what a whole picture needs
# Mean score in two more looks where no box is left. 3 of 13 such pictures of Stanford 40 reach it,
# all with a box that fits, and 8 of 374 pictures without people (the same command).
SURE_AGAIN = 0.78


class LookAgain:
    """A finder of the zoo, whose doubts the pose network settles.

    It looks at the boxes that the finder is in doubt about. Where nobody is left it looks twice
    more: at the surest box that does not count, and at the box about the joints that a first look
    at the whole picture shows. There is a person if the joints of both are sure enough on average;
    the box of the surer joints is returned. `sure` is the mean score of the joints from which on
    there is a person then, `whole` that of a whole picture.
    """

    def __init__(self, finder: PersonFinder, predictor: "Predictor") -> None:
        self.finder, self.predictor = finder, predictor
        calibrated = predictor.calibration is not None
        self.whole, self.sure = (SURE_CALIBRATED, SURE_AGAIN) if calibrated else (SURE, SURE)
        # The closer looks are at parts of the picture.
        self.longest_side = max(finder.longest_side, 2 * max(predictor.size))

    def __call__(self, image: Tensor) -> Tensor:
        """Boxes with scores, (N, 5); N is 0 where both find nobody."""
        boxes, scores = self.finder.find(image, UNSURE)
        found = torch.cat((boxes, scores[:, None]), dim=1)
        known = self.likely(image, found[scores >= self.finder.min_score])
        if len(known) or not len(found):
            return known
        box, sureness = self.twice(image, found[:1])
        return box if sureness >= self.sure else known

    def likely(self, image: Tensor, found: Tensor) -> Tensor:
        """Those of the boxes (N, 5) that the finder is sure of, or the joints in them speak for."""
        kept = found[:, 4] >= DOUBT
        if not bool(kept.all()):
            means = sureness(self.predictor, image, found[~kept])
            kept[~kept] = torch.tensor(means) >= LIKELY * self.whole
        return found[kept]

    def twice(self, image: Tensor, unsure: Tensor) -> tuple[Tensor, float]:
        """The surer of the finder's box and the look's, (1, 5), and the mean sureness of both."""
        pose = first_look(self.predictor, image)
        about = box_about(pose, image)
        if about is None or float(pose.scores.mean()) < self.whole:
            return unsure[:0], 0.0
        both = torch.stack((unsure[0, :4], about))
        means = sureness(self.predictor, image, both)
        best = means.index(max(means))
        box = torch.cat((both[best], both.new_tensor([min(1.0, means[best])])))
        return box[None], sum(means) / 2


class CloserLook:
    """A detector for pictures that are one person, who fills a part of the whole only.

    Two boxes may fit that part: one about the joints of a first look at the whole picture, and the
    largest that the finder sees. That of the surer joints is taken. Where there is neither, the
    whole picture is the box.
    """

    def __init__(self, predictor: "Predictor") -> None:
        self.predictor, self.finder = predictor, PersonFinder(device=predictor.device)
        # The closer looks are at parts of the picture.
        self.longest_side = max(self.finder.longest_side, 2 * max(predictor.size))

    def __call__(self, image: Tensor) -> Tensor:
        """The box of the one person, (1, 4)."""
        pose = first_look(self.predictor, image)
        about, largest = box_about(pose, image), self.largest(image)
        first = torch.from_numpy(pose.box) if about is None else about
        if largest is None:
            return first[None]
        both = torch.stack((first, largest))
        means = sureness(self.predictor, image, both)
        return both[means.index(max(means))][None]

    def largest(self, image: Tensor) -> Tensor | None:
        """The finder's largest box (4,) of those that count, else its surest, else None."""
        boxes, scores = self.finder.find(image, UNSURE)
        count = max(1, int((scores >= self.finder.min_score).sum()))  # the surest come first
        areas = (boxes[:count, 2:] - boxes[:count, :2]).prod(dim=1)
        return boxes[int(areas.argmax())] if len(boxes) else None


def sureness(predictor: "Predictor", image: Tensor, boxes: Tensor) -> list[float]:
    """The mean scores of the joints that the network sees in boxes (N, 4) or (N, 5)."""
    return [float(pose.scores.mean()) for pose in predictor(image, boxes)]


def first_look(predictor: "Predictor", image: Tensor) -> Pose:
    """The pose of an image (3, H, W) that is taken as one person."""
    height, width = image.shape[1:]
    [pose] = predictor(image, [[0.0, 0.0, width, height]])
    return pose


def box_about(pose: Pose, image: Tensor) -> Tensor | None:
    """A box (4,) about a pose's found joints, inside the image; None if they are too few."""
    height, width = image.shape[1:]
    seen = torch.from_numpy(pose.found)
    if int(seen.sum()) < min(MIN_JOINTS, len(seen)):
        return None
    tight = keypoints_to_box(torch.from_numpy(pose.keypoints), seen)
    centre, half = (tight[:2] + tight[2:]) / 2, GROWN * (tight[2:] - tight[:2]) / 2
    limit = torch.tensor([width, height], dtype=torch.float32)
    low, high = (centre - half).clamp_min(0), (centre + half).minimum(limit)
    return torch.cat((low, high)) if bool((high > low).all()) else None
