"""Networks by name, with weights. Whoever imports one of them has all registered with timm."""

from gatedpose.models import zoo as zoo
