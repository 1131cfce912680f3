"""What recorders measured: scalars by step, and small arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


class History:
    """Measured scalars and arrays of a stack, kept on the CPU.

    Attributes:
        steps: the steps at which something was measured, in order.
        scalars: by step, column -> (networks,) float64.
        arrays: name -> (steps, values), the values (networks, ...); float64 becomes float32, bits
            and whole numbers stay what they are.
    """

    def __init__(self) -> None:
        self.scalars: dict[int, dict[str, Tensor]] = {}
        self.arrays: dict[str, tuple[list[int], list[Tensor]]] = {}

    def add(self, step: int, scalars: Mapping[str, Tensor]) -> None:
        """Scalars (networks,) measured at a step, joined to what is there."""
        row = self.scalars.setdefault(step, {})
        row.update({name: value.detach().double().cpu() for name, value in scalars.items()})

    def add_array(self, step: int, name: str, value: Tensor) -> None:
        """One array (networks, ...) measured at a step."""
        steps, values = self.arrays.setdefault(name, ([], []))
        steps.append(step)
        value = value.detach().cpu()
        values.append(value.float() if value.dtype == torch.float64 else value)

    def keep(self, wanted: Callable[[str, int], bool]) -> None:
        """Drop the values whose name and step are not wanted, and steps that none is left of."""
        for step, row in list(self.scalars.items()):
            self.scalars[step] = {name: row[name] for name in row if wanted(name, step)}
            if row and not self.scalars[step]:
                del self.scalars[step]
        for name, (steps, values) in list(self.arrays.items()):
            kept = [place for place, step in enumerate(steps) if wanted(name, step)]
            self.arrays[name] = (
                [steps[place] for place in kept],
                [values[place] for place in kept],
            )
            if not kept:
                del self.arrays[name]

    def as_tensors(self) -> dict[str, Tensor]:
        """Everything as tensors by name, for a training state."""
        columns = sorted({name for row in self.scalars.values() for name in row})
        networks = next((len(value) for row in self.scalars.values() for value in row.values()), 0)
        absent = torch.full((networks,), float("nan"), dtype=torch.float64)
        tensors = {"steps": torch.tensor(list(self.scalars), dtype=torch.int64)}
        for name in columns:
            rows = [row.get(name, absent) for row in self.scalars.values()]
            tensors[f"scalar/{name}"] = torch.stack(rows)
        for name, (steps, values) in self.arrays.items():
            tensors[f"array/{name}"] = torch.stack(values)
            tensors[f"array steps/{name}"] = torch.tensor(steps)
        return tensors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> History:
        """What `as_tensors` gave. A scalar that was not measured comes back as NaN."""
        history = cls()
        columns = {
            name.partition("/")[2]: value
            for name, value in tensors.items()
            if name.startswith("scalar/")
        }
        for row, step in enumerate(tensors["steps"].tolist()):
            history.scalars[step] = {name: value[row] for name, value in columns.items()}
        for name, value in tensors.items():
            if name.startswith("array/"):
                key = name.partition("/")[2]
                steps = tensors[f"array steps/{key}"].tolist()
                history.arrays[key] = (steps, list(value))
        return history
