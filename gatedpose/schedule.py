"""Where a training stands, and the learning rate there."""

from dataclasses import dataclass

from gatedpose.recipes import Recipe


@dataclass
class Progress:
    """Where a training stands; everything else follows from the recipe."""

    phase: int = 0
    images: int = 0  # seen in this phase
    step: int = 0  # over all phases

    def share(self, recipe: Recipe) -> float:
        """Share of the whole work that is done, 0 to 1."""
        done = sum(phase.cost for phase in recipe.phases[: self.phase])
        if self.phase < len(recipe.phases):
            current = recipe.phases[self.phase]
            done += current.cost * min(1.0, self.images / current.images)
        return done / recipe.cost


def learning_rate(recipe: Recipe, progress: Progress) -> float:
    """Linear warm-up over steps, then the recipe's drops or a linear fall to 0."""
    warm = min(1.0, (progress.step + 1) / max(1, recipe.warmup))
    share = progress.share(recipe)
    if recipe.drops:
        return warm * [recipe.lr, *(rate for start, rate in recipe.drops if share >= start)][-1]
    return recipe.lr * warm * (1 - share)
