"""From a picture to poses: finding people, prediction, tracking.

The wing is a function as well, `gatedpose.predict("photo.jpg")`: a package's attribute and its
module share a name.
"""

import sys
from types import ModuleType
from typing import Any


class _Door(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Any:
        from gatedpose.predict.oneline import predict

        return predict(*args, **options)


sys.modules[__name__].__class__ = _Door
