"""Prepared data in one file each, whatever they are: images, documents, a text, features.

The module of a recipe, `import_entry("recipe", name)`, says what its data are. It offers

    read(sources, cache) -> raw              what its sources hold; key of the recipe -> source
    prepare(raw, recipe) -> prepared         the arrays, from raw data and the recipe's keys
    save(prepared, path, recipe)             one file, by `write`
    load(path, device) -> data               the same data on a device, by `read`

and a task and a model take what `load` gives: the names of a model's own needs are the positional
arguments of its `build`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes
from torch import Tensor

from refigure.errors import UserError
from refigure.files import whole
from refigure.graph.catalogue import import_entry


def write(path: Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Write arrays with a little JSON; the file is there whole or not at all.

    Equal arrays give equal bytes.

    Args:
        about: must be JSON and hold `recipe`, whose module reads the file again.
    """
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    # One key: safetensors writes several in an order that changes from process to process.
    metadata = {"refigure": json.dumps(dict(about), sort_keys=True)}
    with whole(path) as temporary:
        temporary.write_bytes(to_bytes(contiguous, metadata))


def read(path: Path, device: torch.device | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The arrays of a file that `write` wrote, as tensors on a device, and what goes with them.

    Raises:
        UserError: there is no such file, or it is not one of ours.
    """
    about, names = _about(path)
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name).to(device) for name in names}, about


def load(path: Path, device: torch.device | str) -> Any:
    """The data of a file on a device, as the module of the recipe that made it gives them.

    Raises:
        UserError: there is no such file, or it is not one of ours.
    """
    about, _ = _about(path)
    try:
        return import_entry("recipe", about["recipe"]["name"]).load(path, device)
    except (SafetensorError, KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
        raise UserError(f"{path}: not prepared data: {' '.join(str(error).split())}") from None


def _about(path: Path) -> tuple[dict[str, Any], list[str]]:
    try:
        with safe_open(path, "pt") as file:
            return json.loads(file.metadata()["refigure"]), list(file.keys())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise UserError(f"{path}: not prepared data: {' '.join(str(error).split())}") from None
