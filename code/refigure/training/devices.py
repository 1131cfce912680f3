"""Which device a job computes on."""

from __future__ import annotations

import torch

from refigure.errors import UserError


def device_of(wanted: str) -> torch.device:
    """The device of `auto`, `cpu` or `cuda[:n]`.

    One thread on a CPU: sums over several threads change with their number.

    Raises:
        UserError: a GPU is asked for by name and there is none.
    """
    torch.set_num_threads(1)
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise UserError(f"config: device must be auto, cpu or cuda[:n], got '{wanted}'") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"config: device '{wanted}' is asked for, but torch finds no GPU")
    return device
