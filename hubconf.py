"""torch.hub's door: torch.hub.load("ORG/gatedpose", "gated_hg_1s_68", pretrained=True).

Every variant of the zoo is an entry; arguments are those of `gatedpose.create_model`.
"""

import functools

from gatedpose.models.variants import VARIANTS
from gatedpose.models.zoo import create_model

dependencies = ["torch", "timm", "huggingface_hub", "safetensors", "fvcore", "numpy"]

for _variant in VARIANTS:
    _entry = functools.partial(create_model, _variant.name)
    functools.update_wrapper(_entry, create_model)
    globals()[_variant.name] = _entry
