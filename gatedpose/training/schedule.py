"""Where a training stands, and the learning rate there."""

from dataclasses import dataclass

from torch.nn.modules.batchnorm import _BatchNorm

from gatedpose.errors import InputError
from gatedpose.models.base import HeatmapNetwork
from gatedpose.training.groups import FinderPhase
from gatedpose.training.recipes import FinderRecipe, Recipe


@dataclass
class Progress:
    """Where a training stands; everything else follows from the recipe."""

    phase: int = 0
    images: int = 0  # seen in this phase
    step: int = 0  # over all phases

    def is_due(self, phase: FinderPhase, every: int) -> bool:
        """Whether a look is due after a batch: every so many images and when the phase ends."""
        return self.images >= phase.images or self.images % every < phase.batch_size

    def share(self, recipe: Recipe | FinderRecipe) -> float:
        """Share of the whole work that is done, 0 to 1."""
        costs = [phase.cost for phase in recipe.phases]
        done = sum(costs[: self.phase])
        if self.phase < len(costs):
            done += costs[self.phase] * min(1.0, self.images / recipe.phases[self.phase].images)
        return done / sum(costs)


def check_batches(recipe: Recipe, processes: int, people: int, network: HeatmapNetwork) -> None:
    """Sees that the batches of all phases can be drawn, shared and normalised."""
    normed = any(isinstance(layer, _BatchNorm) for layer in network.modules())
    coarsest = network.size_multiple if normed else 0  # pixels that are one cell
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


def learning_rate(recipe: Recipe | FinderRecipe, progress: Progress) -> float:
    """Linear warm-up over steps, then the recipe's drops or a linear fall to 0."""
    warm = min(1.0, (progress.step + 1) / max(1, recipe.warmup))
    share = progress.share(recipe)
    if recipe.drops:
        return warm * [recipe.lr, *(rate for start, rate in recipe.drops if share >= start)][-1]
    return recipe.lr * warm * (1 - share)
