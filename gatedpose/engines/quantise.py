"""Eight bits: `quantised` rounds what a network computes to 256 steps, as engines then do for real.

Post-training quantisation. Weights get a range for each output channel, from themselves.
Activations get one for each tensor, which takes pictures of people to find (`find_ranges`); they
lie beside the weights, a few kB (`stored_ranges`), so that eight bits need no data.
The rounding is PyTorch's own fake quantisation, which OpenVINO knows.

Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only
inference", CVPR 2018. Rounded is what convolutions read, behind each ReLU. What blocks add up is
not: where the processor has bfloat16 that would make nothing faster.
"""

import copy
import functools
import hashlib
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from gatedpose.catalogue import RANGES_FILE, WEIGHTS_DIR, hub_file
from gatedpose.engines.folding import FoldedNetwork
from gatedpose.errors import InputError, WeightsError
from gatedpose.files.typed_json import from_json, read_json, to_json
from gatedpose.files.whole import write_whole
from gatedpose.models.base import HeatmapNetwork

Ranges: TypeAlias = dict[str, tuple[float, float]]  # of activations, by the module they come from
IMAGES = "images"  # among those names
STEPS = 255  # of an activation's range
HALF = 127  # and of weights, to each side of 0
FIND_OWN = (
    "`gatedpose quantise local-dir:FOLDER` finds those of a network of your own, and "
    "gatedpose.optimize takes others as ranges="
)


def _rounding(low: float, high: float) -> Callable[..., Tensor]:
    """A hook that rounds what a module gives, or gets, to the 256 values of a range with 0."""
    scale = max(high - low, 1e-6) / STEPS
    zero = round(-low / scale)

    def hook(module: nn.Module, inputs: Any, output: Tensor | None = None) -> Tensor:
        x = inputs[0] if output is None else output
        return torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, STEPS)

    return hook


class QuantisedConv(nn.Module):
    """A convolution whose weights are rounded to eight bits, with a range an output channel.

    Processors without VNNI or the like multiply two neighbours among the input channels, and add
    the products in 16 bits. With `anywhere` ranges are so wide that these never overflow: that
    costs a third of a bit. (NNCF's "overflow fix" takes seven bits for all weights.)
    """

    def __init__(self, conv: nn.Conv2d, anywhere: bool = False) -> None:
        super().__init__()
        self.conv = conv
        weight = conv.weight.detach()
        largest = weight.abs().amax((1, 2, 3))
        if anywhere:  # what is added up has one sign: activations are no less than 0
            pairs = pad(weight, (0, 0, 0, 0, 0, weight.shape[1] % 2)).unflatten(1, (-1, 2))
            for sign in (1, -1):
                both = (sign * pairs).clamp(min=0).sum(2)
                largest = torch.maximum(largest, both.amax((1, 2, 3)))
        self.register_buffer("scale", largest.clamp(min=1e-12) / HALF)
        self.register_buffer("zero", torch.zeros(len(largest), dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        """See `nn.Conv2d`."""
        conv, scale, zero = self.conv, self.get_buffer("scale"), self.get_buffer("zero")
        weight = torch.fake_quantize_per_channel_affine(conv.weight, scale, zero, 0, -HALF, HALF)
        out: Tensor = conv._conv_forward(x, weight, conv.bias)
        return out


def quantised(model: nn.Module, ranges: Ranges, anywhere: bool = False) -> nn.Module:
    """What `FoldedNetwork` makes of a trained network, rounded to eight bits; of others a copy.

    With `anywhere` it is right on every processor, see `QuantisedConv`.
    """
    network = _needed(model)
    if wrong := set(_places(network)) ^ set(ranges):
        raise WeightsError(
            f"these {len(ranges)} ranges are of another network, which has other activations: "
            f"{', '.join(sorted(wrong)[:3])}, ..."
        )
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.Conv2d):
            network.set_submodule(name, QuantisedConv(layer, anywhere))
    for name in ranges:
        _hook(network, name, _rounding(*ranges[name]))
    return network


class Extremes(nn.Module):
    """Smallest and largest activation at each of P rounded places: (B, 3, H, W) -> (P, 2, B)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.network = _needed(model)
        self.places = _places(self.network)
        for name in self.places:
            _hook(self.network, name, functools.partial(self._watch, name))
        self.found: dict[str, Tensor] = {}  # (2, B): the smallest, and the largest negated

    def _watch(
        self, name: str, module: nn.Module, inputs: Any, output: Tensor | None = None
    ) -> None:
        values = (inputs[0] if output is None else output).flatten(1)  # (B, *)
        ends = torch.stack((values.amin(1), -values.amax(1)))
        # Some networks call a ReLU several times.
        self.found[name] = torch.minimum(self.found.get(name, ends), ends)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        self.found = {}
        self.network(images)
        none = torch.zeros(2, len(images))  # of what is never called
        signs = torch.tensor([1.0, -1.0]).view(2, 1)
        return torch.stack([self.found.get(name, none) * signs for name in self.places])


def find_ranges(
    model: nn.Module,
    batches: Iterable[Tensor],
    through: Callable[[nn.Module], Callable[[Tensor], Tensor]] = lambda graph: graph,
) -> Ranges:
    """Ranges of the activations of a trained network.

    They reach from the smallest to the largest value of a picture, on the average over pictures:
    what only a few pictures reach is cut off, for finer steps.

    Args:
        model: A network of the zoo, or any whose ReLUs are modules.
        batches: Normalised crops (B, 3, H, W) of a few hundred people.
        through: Makes another engine run it, see `gatedpose.engines.runtimes.openvino_graph`.

    Raises:
        InputError: If there are no batches, or an activation is no number.
    """
    extremes = Extremes(model)
    run = through(extremes)
    with torch.inference_mode():
        found = [run(images) for images in batches]
        if not found:
            raise InputError("find_ranges: there are no batches: give crops of people")
        means = torch.cat(found, dim=2).mean(dim=2)  # (P, 2)
    if not bool(means.isfinite().all()):  # which max and min would make 0
        raise InputError("find_ranges: activations are not finite: are all images, all weights?")
    return {
        name: (min(0.0, float(low)), max(0.0, float(high)))
        for name, (low, high) in zip(extremes.places, means, strict=True)
    }


def check_ranges(ranges: Ranges, where: str = "optimize: ranges") -> None:
    """Raises InputError, naming the first, unless all ranges are finite and hold 0."""
    for name, (low, high) in ranges.items():
        if not -math.inf < low <= 0 <= high < math.inf:
            raise InputError(
                f"{where} must be finite and hold 0, as find_ranges gives them; {name} "
                f"has {low}, {high}"
            )


def _needed(model: nn.Module) -> nn.Module:
    if isinstance(model, HeatmapNetwork):
        return FoldedNetwork(model, split_merges=False)
    return copy.deepcopy(model).eval()


def _places(network: nn.Module) -> list[str]:
    """The images, and modules whose output is rounded."""
    relus = [name for name, module in network.named_modules() if isinstance(module, nn.ReLU)]
    return [IMAGES, *relus]


def _hook(network: nn.Module, name: str, hook: Any) -> None:
    if name == IMAGES:
        network.register_forward_pre_hook(hook)
    else:
        network.get_submodule(name).register_forward_hook(hook)


def weights_digest(model: nn.Module) -> str:
    """Sha256 of a network's state in float32, in hexadecimal."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().float().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def ranges_file(model: HeatmapNetwork) -> Path:
    """Where the ranges for a network's weights are, or would be."""
    cfg = model.pretrained_cfg
    if cfg.get("source") == "local-dir":
        return Path(cfg["file"], RANGES_FILE)
    if cfg.get("source") == "hf-hub":
        return hub_file(cfg["hf_hub_id"], RANGES_FILE)
    return WEIGHTS_DIR / f"{cfg.get('architecture')}.{cfg.get('tag')}.int8.json"


def rounded_scores(name: str) -> dict[str, float]:
    """PCK of the weights NAME in eight bits, as it was measured when their ranges were found."""
    path = WEIGHTS_DIR / f"{name}.int8.json"
    return json.loads(path.read_text("utf-8")).get("scores", {}) if path.is_file() else {}


@dataclass(frozen=True)
class Stored:
    """What a file of ranges holds."""

    weights: str  # their digest
    ranges: Ranges
    scores: dict[str, float] = field(default_factory=dict)


def save_ranges(
    model: HeatmapNetwork, ranges: Ranges, scores: dict[str, float] | None = None
) -> None:
    """Writes ranges for `stored_ranges`, and scores for `rounded_scores`."""
    short = {
        name: (float(f"{low:.4g}"), float(f"{high:.4g}")) for name, (low, high) in ranges.items()
    }
    facts = Stored(weights_digest(model), short, scores or {})
    write_whole(ranges_file(model), to_json(asdict(facts)) + "\n")


def stored_ranges(model: HeatmapNetwork) -> Ranges:
    """Ranges that lie beside a network's weights; WeightsError if it has other weights by now."""
    try:
        path = ranges_file(model)
    except WeightsError as error:  # the Hub's repository has none
        raise WeightsError(f"{error}; {FIND_OWN}") from error
    if not path.is_file():
        cfg = model.pretrained_cfg
        packaged = ".".join(filter(None, (cfg.get("architecture"), cfg.get("tag"))))
        name = path.parent if path.name == RANGES_FILE else packaged or "this network"
        there = sorted(
            file.name.removesuffix(".int8.json") for file in WEIGHTS_DIR.glob("*.int8.json")
        )
        raise WeightsError(
            f"{name} has no ranges of activations for eight bits, which {', '.join(there)} have; "
            f"{FIND_OWN}"
        )
    facts = from_json(Stored, read_json(path), str(path))
    check_ranges(facts.ranges, f"{path}: ranges")
    if facts.weights != weights_digest(model):
        raise WeightsError(f"{path} is of other weights than this network has now: {FIND_OWN}")
    return facts.ranges
