"""Pictures coded as JPEG stand in for a tensor."""

import threading

import pytest
import torch

from gatedpose.batches.crops import Crops
from gatedpose.batches.packs import AHEAD, JpegImages, by_threads, gather


def pictures(count: int, side: int) -> torch.Tensor:
    """Smooth pictures, which JPEG keeps to a level or two, all unlike."""
    ramp = torch.linspace(0, 200, side)
    planes = torch.stack(
        (ramp.expand(side, side), ramp.expand(side, side).T, ramp.flip(0).expand(side, side))
    )
    return torch.stack([planes.roll(i, 0) + 10 * i for i in range(count)]).round().to(torch.uint8)


def test_decodes_what_was_coded_in_any_order() -> None:
    right = pictures(3, 32)
    coded = JpegImages.of(right, 32)
    assert (coded.shape, len(coded)) == ((3, 3, 32, 32), 3)
    order = torch.tensor([2, 0, 2])
    assert (coded[order].int() - right[order].int()).abs().max() <= 4


def test_smaller_pictures_keep_places() -> None:
    right = pictures(2, 64)
    small = JpegImages.of(right, 64).shrunk(2).shrunk(2)
    assert small.shape == (2, 3, 16, 16)
    means = right.float().view(2, 3, 16, 4, 16, 4).mean(dim=(3, 5))
    assert (small[torch.arange(2)].float() - means).abs().max() <= 6


@pytest.mark.parametrize("coded", [True, False])
def test_crops_join(coded: bool) -> None:
    right = pictures(4, 32)
    joints, labelled = torch.rand(2, 3, 2), torch.ones(2, 3, dtype=torch.bool)
    halves = (JpegImages.of(half, 32) if coded else half for half in (right[:2], right[2:]))
    both = Crops.join([Crops(half, joints, labelled) for half in halves])  # type: ignore[arg-type]
    taken = both.take(torch.tensor([3, 1]))
    assert isinstance(taken.images, JpegImages) == coded
    taken = taken.to(torch.device("cpu"))
    assert (taken.images.int() - right[[3, 1]].int()).abs().max() <= 4
    assert not taken.absent.any()


def test_threads_work_at_once_and_keep_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    both = threading.Barrier(2, timeout=20)  # nobody passes alone
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        both.wait()
        return item * item

    results = by_threads(range(2 * AHEAD), work, "working", "item")
    assert next(results) == 0
    assert len(begun) <= AHEAD  # no more waits in memory
    assert list(results) == [item * item for item in range(1, 2 * AHEAD)]


def test_an_error_in_a_thread_ends_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    results = by_threads([1, 0, 2], lambda item: 6 // item, "working", "item")
    assert next(results) == 6
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert "1/3" in capsys.readouterr().err  # the bar


def test_single_pictures_come_to_lie_in_blocks() -> None:
    right = pictures(AHEAD + 2, 16)
    joints, labelled = torch.rand(AHEAD + 2, 3, 2), torch.ones(1, 3, dtype=torch.bool)
    parts: list[Crops] = []
    for i, picture in enumerate(right):
        images = JpegImages.of([picture], 16)
        gather(parts, Crops(images, joints[i : i + 1], labelled))  # type: ignore[arg-type]
    assert [len(part) for part in parts] == [AHEAD, 1, 1]
    assert len({file.untyped_storage().data_ptr() for file in parts[0].images.files}) == 1
    whole = Crops.join(parts)
    assert torch.equal(whole.keypoints, joints)
    assert (whole.images[torch.arange(AHEAD + 2)].int() - right.int()).abs().max() <= 8
