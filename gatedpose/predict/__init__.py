"""Finds the people in photos and their joints: a function, and the package of its parts.

    poses = gatedpose.predict("photo.jpg", boxes=None, model="balanced", channels="rgb")

`help(gatedpose.predict.oneline.predict)` explains the arguments. The function and the package share
a name; calling the package calls the function.
"""

import importlib
import sys
from types import ModuleType
from typing import Any


class _Door(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Any:
        from gatedpose.predict.oneline import predict

        return predict(*args, **options)

    def __reduce__(self) -> Any:
        return importlib.import_module, (self.__name__,)


sys.modules[__name__].__class__ = _Door
