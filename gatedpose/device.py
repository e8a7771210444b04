"""Where networks run."""

import torch

from gatedpose.errors import InputError


def find_device(name: str | torch.device, meta: bool = False) -> torch.device:
    """The device called `name`, seen to be there and to compute.

    With `meta`, "meta" will do, too: shapes only, and nothing is computed.

    Raises:
        InputError: For a name that PyTorch does not know, or a device that is not there.
    """
    try:
        device = torch.device(name)
        if not (meta and device.type == "meta"):
            torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError, TypeError, ValueError) as error:
        there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        if torch.backends.mps.is_available():
            there.append("mps")
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"the device {str(name)!r} cannot be used ({reason:.120}); there are {', '.join(there)}"
        ) from error
    return device
