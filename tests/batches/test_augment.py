"""Augmentation: whatever is turned, zoomed, mirrored or cut, a bright dot stays on its joint.

Most tests have a picture for each of the 14 joints, with dots at that joint only, so that every dot
can be found by its brightness and each picture draws its own random change.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from gatedpose.batches.augment import NONE, Augmentation, Batch, augment
from gatedpose.batches.crops import FILL, Crops
from gatedpose.data.preprocessing import Preprocessing
from gatedpose.skeleton import LSP14

SIDE = 128  # of the packed crops; the person is the middle 64 x 64, the plain input the middle 80
SIZE = (96, 80)  # height, width
RIGHT = [right for right, _ in LSP14.flip_pairs]
LEFT = [left for _, left in LSP14.flip_pairs]
UPPER = ((-25, 0), (-20, -10), (-10, -18), (10, -18), (20, -10), (25, 0), (0, -20), (0, -32))
LOWER = ((-15, 32), (-12, 16), (-8, 0), (8, 0), (12, 16), (15, 32))
PLAIN = Preprocessing(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
BODY = torch.tensor((*LOWER, *UPPER)).float()  # a person of 50 x 64 about their centre


def plain(crops: Crops, augmentation: Augmentation, seed: int = 0) -> Batch:
    """Augmented crops with colours in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return augment(crops, SIZE, LSP14, augmentation, PLAIN, generator)


def dots(images: Tensor, points: Tensor, colour: tuple[float, float, float]) -> Tensor:
    """Adds a soft dot of `colour` at a point (B, 2) of each image."""
    centres = torch.arange(images.shape[-1]) + 0.5
    across = torch.exp(-((centres - points[:, :1]) ** 2) / 3)  # (B, P), a few pixels wide
    down = torch.exp(-((centres - points[:, 1:]) ** 2) / 3)
    dot = (down.unsqueeze(2) * across.unsqueeze(1)).unsqueeze(1)  # (B, 1, P, P)
    wanted = torch.tensor(colour).view(1, 3, 1, 1)
    return images + dot * (wanted - images)


@pytest.fixture
def people() -> Crops:
    """Fourteen people; in picture j there is a red dot at joint j, a blue one at its partner."""
    joints = SIDE / 2 + BODY + torch.tensor([0.3, -0.4])
    background = torch.tensor(FILL).view(1, 3, 1, 1).expand(14, 3, SIDE, SIDE)
    partner = joints[list(LSP14.flip_permutation)]
    images = dots(dots(background, partner, (0.0, 0.0, 255.0)), joints, (255.0, 0.0, 0.0))
    labelled = torch.ones(14, 14, dtype=torch.bool)
    return Crops(images.round().to(torch.uint8), joints.expand(14, 14, 2).contiguous(), labelled)


def find(images: Tensor, channel: int) -> Tensor:
    """Centres (B, 2) of what is brighter than the background in a channel."""
    background = torch.tensor(FILL)[channel] / 255
    weight = (images[:, channel] - background - 0.05).clamp_min(0).double()
    height, width = weight.shape[1:]
    x = (weight.sum(dim=1) * (torch.arange(width) + 0.5)).sum(dim=1)
    y = (weight.sum(dim=2) * (torch.arange(height) + 0.5)).sum(dim=1)
    return torch.stack((x, y), dim=1) / weight.sum(dim=(1, 2)).unsqueeze(1)


def inside(points: Tensor, margin: float = 6) -> Tensor:
    limit = torch.tensor([SIZE[1], SIZE[0]])
    return ((points > margin) & (points < limit - margin)).all(dim=-1)


def similarity(batch: Batch, crops: Crops) -> tuple[Tensor, Tensor]:
    """Magnification and clockwise turn in degrees of every picture, from its joints."""
    before, after = (
        torch.view_as_complex((k[:, 13] - k[:, 12]).contiguous())
        for k in (crops.keypoints, batch.keypoints)
    )
    ratio = after / before
    return ratio.abs(), ratio.angle().rad2deg()


def test_none_is_the_middle_of_the_crop() -> None:
    images = torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8)
    crops = Crops(images, torch.rand(2, 14, 2) * SIDE, torch.rand(2, 14) > 0.5)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    batch = augment(crops, SIZE, LSP14, NONE, Preprocessing(mean, std), torch.Generator())
    # 64 pixels of person, a margin of 1.25 and 80 columns: pixel for pixel.
    middle = images[:, :, 16:112, 24:104] / 255
    right = (middle - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(batch.images, right, atol=2e-3, rtol=0)
    torch.testing.assert_close(batch.keypoints, crops.keypoints - torch.tensor([24.0, 16.0]))
    assert torch.equal(batch.labelled, crops.labelled)


def test_smaller_inputs_are_scaled(people: Crops) -> None:
    args = LSP14, NONE, PLAIN, torch.Generator()
    batch = augment(people, (48, 40), *args)
    torch.testing.assert_close(batch.keypoints, (people.keypoints - torch.tensor([24, 16])) / 2)
    assert batch.images.shape == (14, 3, 48, 40)
    own = batch.keypoints[range(14), range(14)]
    assert (find(batch.images, 0) - own).abs().max() < 0.5


def test_what_lies_outside_the_crop_is_filled(people: Crops) -> None:
    crops = replace(people, images=torch.full_like(people.images, 200))
    images = plain(crops, replace(NONE, scale=(0.5, 0.5))).images  # 192 x 160 of 128 x 128
    assert images[:, :, 17:-17, 9:-9].sub(200 / 255).abs().max() < 1e-4
    fill = torch.tensor(FILL).view(3, 1, 1) / 255
    for outside in (images[:, :, :15], images[:, :, -15:], images[..., :7], images[..., -7:]):
        assert (outside - fill).abs().max() < 1e-4


CHANGES = {
    "none": NONE,
    "rotation": replace(NONE, rotation=45.0, rotate=1.0),
    "scale": replace(NONE, scale=(0.6, 1.3)),
    "shift": replace(NONE, shift=0.1),
    "flip": replace(NONE, flip=1.0),
    "half body": replace(NONE, half_body=1.0),
    "all": Augmentation(shift=0.05, half_body=0.3, colour=0.0),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("seed", [0, 1])
def test_dots_stay_on_their_joints(change: str, seed: int, people: Crops) -> None:
    batch = plain(people, CHANGES[change], seed)
    assert batch.images.shape == (14, 3, *SIZE)
    assert batch.labelled.all()
    joint, partner = torch.arange(14), torch.tensor(LSP14.flip_permutation)
    own, other = batch.keypoints[joint, joint], batch.keypoints[joint, partner]
    seen = inside(own) & inside(other)
    assert seen.sum() >= 6
    # Where a picture is mirrored, the right ankle of the body looks like a left one, and is one.
    red, blue = find(batch.images, 0), find(batch.images, 2)
    mirrored = (red - other).norm(dim=1) < (red - own).norm(dim=1)
    paired = seen & (partner != joint)
    if CHANGES[change].flip != 0.5:
        assert (mirrored[paired] == bool(CHANGES[change].flip)).all()
    else:
        assert mirrored[paired].any()
        assert not mirrored[paired].all()
    at_red = torch.where(mirrored[:, None], other, own)
    at_blue = torch.where(mirrored[:, None], own, other)
    assert (red - at_red)[seen].norm(dim=1).max() < 0.5
    assert (blue - at_blue)[paired].norm(dim=1).max() < 0.5


def test_flip_exchanges_pixels_joints_and_labels(people: Crops) -> None:
    labelled = torch.ones(14, 14, dtype=torch.bool)
    labelled[:, [0, 11, 13]] = False
    crops = replace(people, labelled=labelled)
    before, after = plain(crops, NONE), plain(crops, replace(NONE, flip=1.0))
    torch.testing.assert_close(after.images, before.images.flip(-1), atol=1e-4, rtol=0)
    mirrored = before.keypoints * torch.tensor([-1.0, 1.0]) + torch.tensor([SIZE[1], 0])
    torch.testing.assert_close(after.keypoints[:, RIGHT], mirrored[:, LEFT])
    torch.testing.assert_close(after.keypoints[:, LEFT], mirrored[:, RIGHT])
    torch.testing.assert_close(after.keypoints[:, 12:], mirrored[:, 12:])
    assert torch.where(~after.labelled[0])[0].tolist() == [5, 6, 13]
    assert (after.labelled == after.labelled[0]).all()


@pytest.mark.parametrize(
    ("change", "share"), [("flip", 0.3), ("half_body", 0.25), ("occlude", 0.3)]
)
def test_changes_are_drawn_for_each_person(change: str, share: float, people: Crops) -> None:
    crops = people.take(torch.zeros(120, dtype=torch.long))
    before, after = plain(crops, NONE), plain(crops, replace(NONE, **{change: share}))
    moved = (after.keypoints - before.keypoints).abs().amax(dim=(1, 2)) > 0.01
    changed = moved | (after.images != before.images).flatten(1).any(dim=1)
    assert float(changed.float().mean()) == pytest.approx(share, abs=0.1)


def test_ranges_of_rotation_scale_and_shift(people: Crops) -> None:
    crops = people.take(torch.zeros(200, dtype=torch.long))
    zoom, turn = similarity(plain(crops, replace(NONE, rotation=40.0, rotate=0.6)), crops)
    assert float((turn.abs() > 0.01).float().mean()) == pytest.approx(0.6, abs=0.1)
    assert turn.min() == pytest.approx(-40, abs=3)
    assert turn.max() == pytest.approx(40, abs=3)
    torch.testing.assert_close(zoom, torch.ones(200), atol=1e-4, rtol=0)

    zoom, turn = similarity(plain(crops, replace(NONE, scale=(0.5, 1.5))), crops)
    assert zoom.min() == pytest.approx(0.5, abs=0.03)
    assert zoom.max() == pytest.approx(1.5, abs=0.03)
    assert turn.abs().max() < 0.01

    moved = plain(crops, replace(NONE, shift=0.1)).keypoints - plain(crops, NONE).keypoints
    assert (moved - moved[:, :1]).abs().max() < 1e-3  # all joints alike
    for axis in (0, 1):  # a tenth of the person's 64 pixels
        assert moved[:, 0, axis].min() == pytest.approx(-6.4, abs=0.3)
        assert moved[:, 0, axis].max() == pytest.approx(6.4, abs=0.3)


def test_turns_and_zooms_leave_the_middle_of_the_person(people: Crops) -> None:
    middle = Crops(people.images, torch.full((14, 14, 2), SIDE / 2), people.labelled)
    batch = plain(middle, Augmentation(rotate=1.0, flip=0.5))
    right = torch.tensor([SIZE[1] / 2, SIZE[0] / 2]).expand(14, 14, 2)
    torch.testing.assert_close(batch.keypoints, right, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("magnification", "joints"), [(64 / 50, range(6, 14)), (64 / 32, range(6))]
)
def test_half_bodies_fill_the_input(magnification: float, joints: range, people: Crops) -> None:
    crops = people.take(torch.zeros(120, dtype=torch.long))
    batch = plain(crops, replace(NONE, half_body=1.0))
    zoom, turn = similarity(batch, crops)
    assert turn.abs().max() < 0.01
    # 50 pixels from wrist to wrist, 32 from hip to ankle: both become 80 / 1.25 = 64.
    chosen = (zoom - magnification).abs() < 1e-3
    assert float(chosen.float().mean()) == pytest.approx(0.7 if joints[0] else 0.3, abs=0.1)
    half = batch.keypoints[chosen][:, list(joints)]
    assert inside(half, margin=7.9).all()
    middle = (half.amin(dim=1) + half.amax(dim=1)) / 2
    right = torch.tensor([SIZE[1] / 2, SIZE[0] / 2]).expand_as(middle)
    torch.testing.assert_close(middle, right, atol=1e-3, rtol=0)


def test_names_of_joints_may_be_written_large(people: Crops) -> None:
    large = replace(LSP14, joints=tuple(name.title() for name in LSP14.joints))
    half = replace(NONE, half_body=1.0)
    first, second = (
        augment(people, SIZE, joints, half, PLAIN, torch.Generator().manual_seed(0))
        for joints in (LSP14, large)
    )
    assert torch.equal(first.keypoints, second.keypoints)


def test_parts_of_a_body_are_words(people: Crops) -> None:
    """No paw in the rear is an ear; OpenPose's RShoulder is a shoulder."""
    rear = replace(LSP14, joints=tuple(f"rear_gear_{k}" for k in range(14)))
    openpose = replace(LSP14, joints=(*rear.joints[:6], *(f"RShoulder{k}" for k in range(8))))
    half = replace(NONE, half_body=1.0, parts=(1.0, 0.0, 0.0, 0.0))
    whole, upper, rears, shoulders = (
        augment(people, SIZE, joints, change, PLAIN, torch.Generator().manual_seed(0)).keypoints
        for joints, change in ((LSP14, NONE), (LSP14, half), (rear, half), (openpose, half))
    )
    torch.testing.assert_close(rears, whole)
    assert not torch.equal(upper, whole)
    assert not torch.equal(shoulders, whole)


def test_half_bodies_need_four_joints_and_some_size(people: Crops) -> None:
    few = people.labelled.clone()
    few[:, [0, 1, 2, 3, 6, 7, 8, 9, 12]] = False  # two below, three above
    batch = plain(replace(people, labelled=few), replace(NONE, half_body=1.0))
    torch.testing.assert_close(batch.keypoints, plain(people, NONE).keypoints)
    curled = replace(people, keypoints=people.keypoints * 0.01 + 60)
    zoom, _ = similarity(plain(curled, replace(NONE, half_body=1.0)), curled)
    torch.testing.assert_close(zoom, torch.full((14,), 3.0), atol=0.01, rtol=0)


def test_parts_of_the_body_end_where_they_say(people: Crops) -> None:
    rows = []
    for part, inside in enumerate(([6, 7, 8, 9, 10, 11, 12, 13], [7, 8, 9, 10], [8, 9], range(6))):
        parts = tuple(float(i == part) for i in range(4))
        batch = plain(people, replace(NONE, half_body=1.0, parts=parts))
        size = torch.tensor(batch.images.shape[:1:-1])
        seen = ((batch.keypoints >= 0) & (batch.keypoints < size)).all(dim=-1)
        assert seen[:, list(inside)].all() or part == 2  # a portrait needs four joints of the head
        rows.append(float(seen.float().mean()))
    assert rows[0] > rows[1]


def test_absent_joints_are_labelled_and_nowhere(people: Crops) -> None:
    absent = torch.zeros_like(people.labelled)
    absent[:, 0] = True  # right ankle
    labelled = people.labelled & ~absent
    crops = replace(people, absent=absent, labelled=labelled)
    straight = plain(crops, NONE)
    assert straight.labelled[:, 0].all()
    assert straight.keypoints[:, 0].isnan().all()
    assert straight.keypoints[:, 1:].isfinite().all()
    mirrored = plain(crops, replace(NONE, flip=1.0))
    assert mirrored.keypoints[:, 5].isnan().all()  # then it is the left one
    assert mirrored.keypoints[:, 0].isfinite().all()


def test_half_bodies_ignore_joints_without_label(people: Crops) -> None:
    keypoints, labelled = people.keypoints.clone(), people.labelled.clone()
    keypoints[:, [0, 6]], labelled[:, [0, 6]] = -5000.0, False
    crops = replace(people, keypoints=keypoints, labelled=labelled)
    zoom, _ = similarity(plain(crops, replace(NONE, half_body=1.0)), crops)
    assert zoom.min() > 1.2


def test_occlusion_greys_a_rectangle_only(people: Crops) -> None:
    before = plain(people, NONE)
    after = plain(people, replace(NONE, occlude=1.0))
    torch.testing.assert_close(after.keypoints, before.keypoints)
    assert torch.equal(after.labelled, before.labelled)
    greys = set()
    for old, new in zip(before.images, after.images, strict=True):
        changed = (old != new).any(dim=0)
        rows, columns = changed.any(dim=1), changed.any(dim=0)
        assert torch.equal(changed, rows[:, None] & columns)  # one rectangle, filled
        for line in (rows, columns):
            assert 0.04 * len(line) < line.sum() <= 0.4 * len(line) + 1
            first, last = torch.where(line)[0][[0, -1]]
            assert line[first : last + 1].all()
        patch = new[:, changed]
        assert (patch == patch[0, 0]).all()
        greys.add(float(patch[0, 0]))
    assert len(greys) == 14
    assert 0 <= min(greys) < max(greys) <= 1


def test_colours_stay_in_range_and_move_nothing(people: Crops) -> None:
    noise = torch.randint(0, 256, people.images.shape, dtype=torch.uint8)
    crops = replace(people, images=noise)
    before, after = plain(crops, NONE), plain(crops, replace(NONE, colour=0.6))
    assert torch.equal(before.keypoints, after.keypoints)
    assert after.images.min() == 0
    assert after.images.max() == 1  # clipped there, so it would be more
    assert ((before.images - after.images).abs().mean(dim=(1, 2, 3)) > 0.02).all()


def test_colour_changes_are_as_large_as_asked_for(people: Crops) -> None:
    even = replace(people.take(torch.zeros(200, dtype=torch.long)))
    even = replace(even, images=torch.full_like(even.images, 100))
    images = plain(even, replace(NONE, colour=0.2)).images[:, :, 20:60, 20:60]  # inside the crop
    grey = images.mean(dim=(1, 2, 3)) / (100 / 255)  # brightness times the mean tint
    assert 0.72 - 1e-3 < grey.min() < 0.85
    assert 1.15 < grey.max() < 1.32 + 1e-3
    tint = images.mean(dim=(2, 3))
    assert ((tint.amax(dim=1) / tint.amin(dim=1)) > 1.01).float().mean() > 0.9


EVERYTHING = Augmentation(shift=0.05, half_body=0.3, occlude=0.5)


def test_the_generator_decides(people: Crops) -> None:
    one, again, other = (plain(people, EVERYTHING, seed) for seed in (7, 7, 8))
    for name in ("images", "keypoints", "labelled"):
        assert torch.equal(getattr(one, name), getattr(again, name))
    assert not torch.equal(one.images, other.images)
    assert ((one.keypoints - other.keypoints).abs().amax(dim=(1, 2)) > 0.1).all()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    plain(people, EVERYTHING, 7)
    assert torch.equal(torch.get_rng_state(), state)  # nobody else's random numbers


@pytest.mark.parametrize("seed", range(3))
def test_labels_are_never_invented(seed: int, people: Crops) -> None:
    labelled = torch.rand(14, 14, generator=torch.Generator().manual_seed(seed)) > 0.6
    labelled[3] = False  # nobody is labelled at all
    crops = replace(people, labelled=labelled)
    got = plain(crops, EVERYTHING, seed).labelled
    swapped = labelled[:, list(LSP14.flip_permutation)]
    kept = (got == labelled).all(dim=1)
    assert (kept | (got == swapped).all(dim=1)).all()
    assert not kept.all()


def test_processes_share_one_draw(people: Crops) -> None:
    changes = Augmentation(shift=0.1, half_body=0.5, occlude=0.5)
    whole = replace(people.take(torch.arange(12)), ids=tuple("abcdefghijkl"))

    def augmented(crops: Crops, *share: int) -> Batch:
        generator = torch.Generator().manual_seed(3)
        even = Preprocessing(mean=(0.4,) * 3, std=(0.2,) * 3)
        return augment(crops, (64, 128), LSP14, changes, even, generator, *share)

    together = augmented(whole)
    for rank in range(3):
        mine = torch.arange(4 * rank, 4 * rank + 4)
        share = augmented(whole.take(mine), rank, 3)
        torch.testing.assert_close(share.images, together.images[mine])
        torch.testing.assert_close(share.keypoints, together.keypoints[mine])
        assert torch.equal(share.labelled, together.labelled[mine])
        assert share.ids == together.ids[4 * rank : 4 * rank + 4]
    parts = together.split(5)
    assert [len(part.images) for part in parts] == [5, 5, 2]
    assert torch.equal(torch.cat([part.keypoints for part in parts]), together.keypoints)
    assert "".join("".join(part.ids) for part in parts) == "abcdefghijkl"


def test_inputs_are_left_alone(people: Crops) -> None:
    images, keypoints = people.images.clone(), people.keypoints.clone()
    plain(people, EVERYTHING)
    assert torch.equal(people.images, images)
    assert torch.equal(people.keypoints, keypoints)
