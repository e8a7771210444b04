"""Where a training stands, and the learning rate there."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatedpose.errors import InputError, WeightsError
from gatedpose.training.recipes import Recipe


@dataclass
class Progress:
    """Where a training stands; everything else follows from the recipe."""

    phase: int = 0
    images: int = 0  # seen in this phase
    step: int = 0  # over all phases

    def checked(self, phases: int) -> "Progress":
        """Itself, seen to be of a training of so many phases; raises InputError if not."""
        numbers = (self.phase, self.images, self.step)
        good = all(type(number) is int and number >= 0 for number in numbers)
        if not good or self.phase > phases:
            raise InputError(f"{self} is no progress of a training of {phases} phases")
        return self

    def share(self, recipe: Recipe) -> float:
        """Share of the whole work that is done, 0 to 1."""
        done = sum(phase.cost for phase in recipe.phases[: self.phase])
        if self.phase < len(recipe.phases):
            current = recipe.phases[self.phase]
            done += current.cost * min(1.0, self.images / current.images)
        return done / recipe.cost


def check_batches(recipe: Recipe, processes: int, people: int, coarsest: int) -> None:
    """Sees that the batches of all phases can be drawn, shared and normalised.

    Args:
        recipe: See `Recipe`.
        processes: That share a batch.
        people: To train on.
        coarsest: Pixels of the input that are one cell of the network's coarsest features; 0 for a
            network without batch norm.

    Raises:
        ValueError: If processes cannot share them alike, they are larger than the people, or batch
            norm would see a single value.
    """
    shares = processes * recipe.accumulate
    if odd := [p.batch_size for p in recipe.phases if p.batch_size % shares]:
        raise InputError(
            f"a batch of {odd[0]} images cannot be shared alike by {processes} processes in "
            f"{recipe.accumulate} parts each"
        )
    if large := [p.batch_size for p in recipe.phases if p.batch_size > people]:
        raise InputError(
            f"a batch of {large[0]} is more than the {people} people to train on: add people "
            "or make the batches of --phase smaller"
        )
    for phase in recipe.phases:
        images = min(phase.batch_size // shares, people if recipe.calibrate else phase.batch_size)
        if images == 1 and phase.size <= coarsest:
            raise InputError(
                f"one picture of {phase.size} pixels at a time is a single value in the network's "
                f"coarsest features, which batch norm cannot learn from: take a --phase of "
                f"{2 * phase.size} pixels, or batches (and people) of at least 2 a part"
            )


def require_same(what: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises InputError, which begins with `what`, unless all fields are as before."""
    names = sorted(k for k in {*before, *now} if before.get(k) != now.get(k))
    if changes := ", ".join(f"{k} {before.get(k)!r} -> {now.get(k)!r}" for k in names):
        text = "resume it with that one, or train into another folder"
        raise InputError(f"{what} ({changes}): {text}")


def learning_rate(recipe: Recipe, progress: Progress) -> float:
    """Linear warm-up over steps, then the recipe's drops or a linear fall to 0."""
    warm = min(1.0, (progress.step + 1) / max(1, recipe.warmup))
    share = progress.share(recipe)
    if recipe.drops:
        return warm * [recipe.lr, *(rate for start, rate in recipe.drops if share >= start)][-1]
    return recipe.lr * warm * (1 - share)


def damaged(path: Path, error: Exception) -> WeightsError:
    """What is wrong with a checkpoint that cannot be gone on with, and what to do."""
    reason = str(error).strip().partition("\n")[0]
    return WeightsError(
        f"{path} is damaged ({type(error).__name__}: {reason:.200}): put a copy of it in its "
        "place, or begin anew in another folder; best.safetensors, if there is one, can be given "
        "to --init"
    )
