"""COCO's results: from predictions to a file, and from a file to AP, by pycocotools."""

import contextlib
import io
import logging
import math
from collections.abc import Collection, Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from gatedpose.data.annotations import Row, rows
from gatedpose.data.coco_table import matching_id, scorable
from gatedpose.data.samples import Sample
from gatedpose.errors import DatasetError, InputError, require
from gatedpose.evaluation.metrics import Array, Score
from gatedpose.files.typed_json import read_json, to_json
from gatedpose.files.whole import write_whole
from gatedpose.pose import Pose
from gatedpose.skeleton import COCO17, SKELETONS, Skeleton, same_joints

Result = dict[str, Any]
LOG = logging.getLogger(__name__)


def tell_lacking(skeleton: Skeleton) -> None:
    """Logs which of COCO's joints people of one of the package's skeletons lack."""
    lacking = set(range(COCO17.num_keypoints)) - set(same_joints(COCO17.joints, skeleton.joints))
    if lacking and skeleton in SKELETONS.values():
        names = ", ".join(COCO17.joints[k] for k in sorted(lacking))
        LOG.warning(
            f"COCO's results are to be of its 17 joints; these are of the {skeleton.num_keypoints} "
            f"of {skeleton.name}, without {names}"
        )


def to_results(samples: Sequence[Sample], keypoints: Array, scores: Array) -> list[Result]:
    """What `Pose.to_coco` gives of N people, from `gatedpose.data.coco`, in image pixels.

    Keypoints are (N, 17, 2), scores (N, 17); a person's score is the mean of theirs. A joint of
    NaN, which the network does not predict, becomes COCO's 0, 0: AP counts it as missed.
    """
    unknown = np.isnan(keypoints)
    placed = np.where(unknown, 0.5, keypoints)  # pycocotools takes NaN for a hit
    if names := [COCO17.joints[k] for k in np.flatnonzero(unknown.any(axis=(0, 2)))]:
        LOG.warning(f"AP counts joints that are not predicted as missed: {', '.join(names)}")
    results = []
    for sample, points, confidences in zip(samples, placed, scores, strict=True):
        image = sample.id.partition("/")[2].rpartition("/")[0]  # between dataset and annotation
        pose = Pose(points, confidences, sample.box, sample.skeleton)
        number = image.isdecimal() and str(int(image)) == image  # "007" is a name
        results.append(pose.to_coco(int(image) if number else image))
    return results


def save_results(results: Sequence[Result], path: Path) -> None:
    """Writes results as JSON, one person a line."""
    lines = ",\n".join(to_json(result) for result in results)
    write_whole(path, f"[\n{lines}\n]\n")


def load_results(path: Path) -> list[Result]:
    """Reads results made here or elsewhere; `oks_ap` says which row and field is wrong."""
    if path.suffix.lower() != ".json":
        raise DatasetError(f"{path}: predictions for COCO are a .json file of COCO's results")
    return [dict(row.values) for row in rows(path, "results", read_json(path))]


def _of_people(listed: Sequence[Row], people: Collection[Any]) -> list[Result]:
    """The results that are of people, as pycocotools takes them."""
    kinds = [row.identity("category_id") for row in listed]
    if set(kinds) != {1}:  # else of people, whatever number these have in the annotations
        mine = [matching_id(kind, people) in people for kind in kinds]
        if not any(mine):
            text = f"people are of category {', '.join(map(str, people))}"
            raise InputError(f"oks_ap: no result is of people; {text}, results of {kinds[0]!r}")
        if others := mine.count(False):
            LOG.warning(f"{others} of {len(kinds)} results are of other categories: not scored")
        listed = list(compress(listed, mine))
    return [
        {
            "image_id": row.identity("image_id"),
            "category_id": 1,
            "keypoints": row.numbers("keypoints", (3 * COCO17.num_keypoints,)).tolist(),
            "score": float(row.numbers("score")),
        }
        for row in listed
    ]


def oks_ap(truth: str | Path, results: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Average precision and recall of COCO keypoints, by pycocotools.

    Annotations are numbered anew: pycocotools ignores a person whose id is 0, and all but one of
    those who share an id.

    Args:
        truth: File of annotations, such as person_keypoints_val2017.json.
        results: COCO's result format: for each detection image_id, category_id, keypoints (51
            numbers, 0-based pixel indices as in the annotations) and score. Those of the category
            that people have in the annotations count, and the log says how many others there are;
            all count if all are of category 1.

    Returns:
        "AP", "AP .5", "AP .75", "AP (M)", "AP (L)", "AR", "AR .5", "AR .75", "AR (M)", "AR (L)", as
        shares from 0 to 1; -1 where there is nothing to score.

    Raises:
        ValueError: If there are no results of people, one is not of 17 joints or not finite, or
            names an image that the annotations lack.
    """
    require("pycocotools.coco", "OKS needs pycocotools", "gatedpose[train]")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if not results:
        raise InputError("oks_ap: there are no results to score")
    annotated = COCO()
    annotated.dataset, people = scorable(Path(truth), read_json(Path(truth)))
    found = _of_people(rows(Path("oks_ap"), "results", list(results)), people)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports by printing
        annotated.createIndex()
        for result in found:
            if (image := matching_id(result["image_id"], annotated.imgs)) is None:
                raise InputError(f"oks_ap: {truth} has no image {result['image_id']}")
            result["image_id"] = image
        run = COCOeval(annotated, annotated.loadRes(found), "keypoints")
        run.evaluate()
        run.accumulate()
        run.summarize()
    names = [
        f"{kind}{part}" for kind in ("AP", "AR") for part in ("", " .5", " .75", " (M)", " (L)")
    ]
    return dict(zip(names, map(float, run.stats), strict=True))


def score_results(truth: Path, results: Sequence[Result]) -> Score:
    """AP of results, averaged over OKS thresholds from .5 to .95, in per cent; see `oks_ap`."""
    stats = oks_ap(truth, results)
    columns = {name: 100 * share if share >= 0 else math.nan for name, share in stats.items()}
    return Score(columns["AP"], (), columns, len(results), "OKS AP")
