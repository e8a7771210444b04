"""From the joints of one dataset to those of another, by name."""

from collections.abc import Sequence

from torch import Tensor, stack

from gatedpose.skeleton import Skeleton

# What stands in for joints that one release annotates and another does not. The paper interpolates
# the two of MPII's that LSP lacks (Section III-C); LSP's neck is MPII's upper neck.
STAND_INS = {
    "pelvis": ("right hip", "left hip"),
    "thorax": ("right shoulder", "left shoulder"),
    "upper neck": ("neck",),
    "neck": ("upper neck",),
}

Groups = tuple[tuple[int, ...], ...]


def joint_groups(source: Skeleton, target: Skeleton) -> Groups:
    """For each joint of `target` the indices of the joints of `source` whose mean it is.

    Raises:
        ValueError: For a joint of `target` that `source` has neither itself nor by a stand-in.
    """
    place = {name: index for index, name in enumerate(source.joints)}
    groups, missing = [], []
    for name in target.joints:
        names = (name,) if name in place else STAND_INS.get(name, (name,))
        if all(n in place for n in names):
            groups.append(tuple(place[n] for n in names))
        else:
            missing.append(name)
    if missing:
        raise ValueError(
            f"the joints differ: {source.name} has no {', '.join(missing)}, which {target.name} "
            "needs"
        )
    return tuple(groups)


def group_means(values: Tensor, groups: Sequence[Sequence[int]]) -> Tensor:
    """Means (N, len(groups), ...) of values (N, K, ...) over each group of joints."""
    return stack([values[:, list(group)].mean(1) for group in groups], 1)
