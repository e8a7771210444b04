"""LSP and LSP-extended against their published layouts, and readers by their name."""

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from gatedpose.catalogue import DATASETS
from gatedpose.data import lsp as lsp_module
from gatedpose.data.lsp import lsp, lspet, lspet_val, near_duplicates
from gatedpose.data.readers import READERS, read_dataset
from gatedpose.errors import DatasetError
from gatedpose.skeleton import LSP14


def digest(ids: list[str]) -> str:
    return hashlib.sha256(" ".join(ids).encode()).hexdigest()[:16]


# Readers


def test_lsp_values_flags_and_boxes(lsp_folder: Path, lsp_joints: np.ndarray) -> None:
    people = lsp(lsp_folder, "val")
    person = people[3]
    assert person.id == "lsp/im0804"
    assert person.image == lsp_folder / "images" / "im0804.jpg"
    assert person.skeleton == LSP14
    published = lsp_joints[:2, :, 803].T - 0.5  # 1-based indices: the first pixel's centre is 0.5
    np.testing.assert_allclose(person.keypoints, published, rtol=1e-6)
    assert person.keypoints.dtype == person.box.dtype == np.float32
    assert lsp_joints[2].any()  # the third row says occluded, which is labelled all the same
    assert all(p.labelled.dtype == bool and p.labelled.all() for p in people)
    tight = [*published.min(axis=0), *published.max(axis=0)]
    np.testing.assert_allclose(person.box, tight, rtol=1e-6)


def test_lspet_values_masks_and_boxes(lspet_folder: Path, lspet_joints: np.ndarray) -> None:
    person = next(p for p in lspet(lspet_folder, "train") if p.id == "lspet/im00007")
    assert person.image == lspet_folder / "images" / "im00007.jpg"
    assert np.flatnonzero(person.labelled).tolist() == [0, 3, 6, 9, 12]
    published = lspet_joints[:, :2, 6] - 0.5
    np.testing.assert_allclose(person.keypoints, published, rtol=1e-6)
    seen = published[person.labelled]  # the placeholders at -77 do not widen the box
    np.testing.assert_allclose(person.box, [*seen.min(axis=0), *seen.max(axis=0)], rtol=1e-6)


def test_splits_of_lsp(lsp_folder: Path) -> None:
    train, val = (lsp(lsp_folder, split) for split in ("train", "val"))
    assert [p.id for p in val] == [f"lsp/im{i:04d}" for i in range(801, 1001)]
    left_out = {f"lsp/im{i:04d}" for i in range(1, 801)} - {p.id for p in train}
    assert left_out == {name for name in near_duplicates() if name.startswith("lsp/")}
    assert 0 < len(left_out) < 20
    assert [p.id for p in train] == sorted(p.id for p in train)
    with pytest.raises(DatasetError, match=r"lacks im1001\.jpg, .*im1005\.jpg and 995 more"):
        lsp(lsp_folder, "test")


def test_test_split_of_lsp(lsp_folder: Path, lsp_joints: np.ndarray, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (tmp_path / "joints.mat").hardlink_to(lsp_folder / "joints.mat")
    for i in range(1001, 2001):
        (images / f"im{i}.jpg").touch()
    people = lsp(str(tmp_path), "test")
    assert [people[0].id, people[-1].id, len(people)] == ["lsp/im1001", "lsp/im2000", 1000]
    np.testing.assert_allclose(people[-1].keypoints[:, 1], lsp_joints[1, :, -1] - 0.5, rtol=1e-6)


def test_splits_of_lspet(lspet_folder: Path) -> None:
    train, val = ([p.id for p in lspet(lspet_folder, split)] for split in ("train", "val"))
    assert len(val) == len(set(val)) == 400
    assert not set(train) & set(val)
    assert val == sorted(val)
    assert train == sorted(train)
    full = {f"lspet/im{i + 1:05d}" for i in range(9000, 9450)}
    assert set(val) < full
    assert "lspet/im00391" in near_duplicates()
    partly = {f"lspet/im{i:05d}" for i in (1, 2, 3, 6, 7, 8)}  # not 391, nor 4 with one joint
    assert set(train) == ((full - set(val)) | partly) - near_duplicates()


def test_near_duplicates_stay_in_validation(
    lsp_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lsp_module, "near_duplicates", lambda: {"lsp/im0002", "lsp/im0801"})
    train, val = ([p.id for p in lsp(lsp_folder, split)] for split in ("train", "val"))
    assert "lsp/im0002" not in train
    assert len(train) == 799
    assert "lsp/im0801" in val


def test_lspet_val_is_fixed() -> None:
    drawn = lspet_val(np.ones((10000, 14), dtype=bool))
    assert drawn[:5] == [29, 51, 62, 72, 101]
    assert digest([str(i) for i in drawn]) == "77849a52c386e023"
    mask = np.ones((10000, 14), dtype=bool)
    mask[29, 13] = False
    assert 29 not in lspet_val(mask)


@pytest.mark.parametrize(
    ("name", "split", "count", "first", "ids"),
    [
        ("lsp", "train", 791, "lsp/im0001", "fd926d15d97d5ffd"),
        ("lsp", "val", 200, "lsp/im0801", "79b1cea1429df95e"),
        ("lspet", "train", 9583, "lspet/im00001", "51917a29b14abafa"),
        ("lspet", "val", 400, "lspet/im00025", "88346cc7d4849a4c"),
    ],
)
def test_published_data(
    name: str, split: str, count: int, first: str, ids: str, real_data: Path
) -> None:
    people = read_dataset(name, real_data / name, split)
    assert len(people) == count
    assert people[0].id == first
    assert digest([p.id for p in people]) == ids
    boxes = np.stack([p.box for p in people])
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert np.isfinite(np.stack([p.keypoints for p in people])).all()
    if name == "lsp" and split == "train":
        ankle, head = people[0].keypoints[[0, 13]]
        np.testing.assert_allclose([*ankle, *head], [29.246, 142.845, 38.488, 15.066], atol=1e-3)
    if split == "val":
        assert all(p.labelled.all() for p in people)


@pytest.mark.parametrize("name", ["lsp", "lspet", "mpii", "coco"])
def test_unknown_split(name: str, tmp_path: Path) -> None:
    wrong = "validation" if name == "lsp" else "test"  # only LSP has a test half that is public
    with pytest.raises(DatasetError, match=f"{name} has the splits train, val"):
        read_dataset(name, tmp_path, wrong)


def test_unknown_dataset(tmp_path: Path) -> None:
    assert tuple(READERS) == DATASETS
    names = ", ".join(DATASETS)
    with pytest.raises(DatasetError, match=r"'mpi'; did you mean mpii\?$"):
        read_dataset("mpi", tmp_path, "train")
    with pytest.raises(DatasetError, match=f"unknown dataset 'FLIC'; there are {names}$"):
        read_dataset("FLIC", tmp_path, "train")


def test_annotations_without_images(lsp_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "joints.mat").hardlink_to(lsp_folder / "joints.mat")
    people = read_dataset("lsp", tmp_path, "val", check_images=False)
    assert [p.id for p in people] == [p.id for p in read_dataset("lsp", lsp_folder, "val")]


DAMAGED = {
    "absent": (None, "holds no joints.mat; it must hold joints.mat and images/"),
    "text": (b"404: not found" * 50, r"joints\.mat cannot be read"),
    "empty": (b"", r"joints\.mat cannot be read"),
    "cut": (300, r"joints\.mat cannot be read"),
    "other key": ({"points": np.ones(3)}, "cannot be read as a MATLAB file with 'joints'"),
    "other set": (
        {"joints": np.zeros((14, 3, 10000), np.uint8)},
        r"must have shape \(3, 14, 2000\), got \(14, 3, 10000\) \(that is LSP-extended\)$",
    ),
    "other shape": ({"joints": np.zeros((14, 3, 2000), np.uint8)}, r"got \(14, 3, 2000\)$"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_joints(kind: str, lsp_folder: Path, tmp_path: Path) -> None:
    content, text = DAMAGED[kind]
    path = tmp_path / "joints.mat"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, int):
        path.write_bytes((lsp_folder / "joints.mat").read_bytes()[:content])
    elif content is not None:
        savemat(path, content)
    with pytest.raises(DatasetError, match=text):
        lsp(tmp_path, "train")


def test_lsp_given_as_lspet(lsp_folder: Path) -> None:
    with pytest.raises(DatasetError, match=r"got \(3, 14, 2000\) \(that is LSP\)$"):
        lspet(lsp_folder, "train")


def test_wrong_images_are_named(lsp_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(lsp_folder, tmp_path / "lsp", copy_function=os.link)
    images = tmp_path / "lsp" / "images"
    (images / ".DS_Store").touch()  # hidden files are nobody's business
    lsp(tmp_path / "lsp", "val")
    (images / "im0900.jpg").rename(images / "im0900.JPG")
    with pytest.raises(DatasetError, match=r"images lacks im0900\.jpg$"):
        lsp(tmp_path / "lsp", "val")
    with pytest.raises(DatasetError, match=r"do not belong to it: im0900\.JPG$"):
        lsp(tmp_path / "lsp", "train")
    shutil.rmtree(images)
    with pytest.raises(DatasetError, match="images is missing"):
        lsp(tmp_path / "lsp", "train")
