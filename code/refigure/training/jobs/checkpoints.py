"""Checkpoints as points: state dicts of files, checked before anything of them is used."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from refigure.data.sources import checked
from refigure.errors import UserError
from refigure.files import alone
from refigure.graph.experiments import Run
from refigure.models.layers import Model
from refigure.streams import generator
from refigure.training.jobs.renaming import renamed

MOMENTS = {"running_mean": "mean", "running_var": "variance"}
COUNTER = "num_batches_tracked"


def point_of(
    run: Run, model: Model, checkpoints: Mapping[str, Mapping[str, Any]], cache: Path
) -> dict[str, Tensor]:
    """The point that a run's file is: as a parent's, so that there is one way to start.

    Args:
        run: that starts from a file.
        model: of the run, for its own data.
        checkpoints: content id -> where it lies: see `Config.checkpoints_of`.
        cache: folder of what is downloaded.

    Returns:
        Parameters by name, and batch norm's moments as `mean/layer` and `variance/layer`, float32,
        on the CPU. Where only the backbone is taken, without the last layer.

    Raises:
        UserError: the file is missing, has another checksum, is no state dict, or is one of another
            network or of another number of classes. Nothing of it is used then.
    """
    source = checkpoints[run.spec.start["file"]]
    place = str(fetched(source, cache))
    values = state_dict(place, source.get("state"), source.get("prefix"))
    name = run.spec.model.get("architecture") or run.spec.model["name"]
    return as_point(values, model, name, place, run.spec.take == "backbone")


def fetched(source: Mapping[str, Any], cache: Path) -> Path:
    """The file of a checkpoint, after its checksum; torchvision's is downloaded where it must be.

    Raises:
        UserError: it is not there, or has another checksum.
    """
    if source["kind"] == "weights":
        checked(source)
        return Path(source["file"])
    return _torchvision_s(source["name"], cache)


def _torchvision_s(name: str, cache: Path) -> Path:
    from torch.hub import download_url_to_file
    from torchvision.models import get_weight

    try:
        url = get_weight(name).url
    except (KeyError, ValueError, AttributeError):
        raise UserError(f"torchvision has no weights '{name}'") from None
    path = cache / url.rpartition("/")[2]
    begins = re.search(r"-([0-9a-f]{8,})\.", path.name)
    if begins is None:
        raise UserError(f"torchvision's weights '{name}' have no checksum in their name: {url}")
    cache.mkdir(parents=True, exist_ok=True)
    with alone(cache / f".{path.name}.lock", f"{name} is being fetched"):
        if not path.is_file():
            try:
                download_url_to_file(url, str(path), hash_prefix=begins[1], progress=False)
            except (OSError, RuntimeError) as error:
                reason = " ".join(str(error).split())
                raise UserError(
                    f"{name}: not in {cache} and not to be downloaded: {reason}"
                ) from None
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if not found.startswith(begins[1]):
        raise UserError(f"{path}: its sha256 must begin with {begins[1]}, found {found}")
    return path


@lru_cache(maxsize=2)
def state_dict(place: str, state: str | None, prefix: str | None) -> dict[str, Tensor]:
    """The state dict of a file, without running code of it.

    Args:
        place: path of a file of `torch.save` or safetensors.
        state: key of the file under which it lies; None: the file is one.
        prefix: of the names wanted, which is taken off; None: all names as they are.

    Raises:
        UserError: the file holds none there.
    """
    found = _loaded(place)
    if state is not None:
        if not isinstance(found, Mapping) or state not in found:
            raise UserError(f"{place}: has no key '{state}' (`state`); it has {_keys(found)}")
        found = found[state]
    if not isinstance(found, Mapping) or not found:
        raise UserError(f"{place}: is no state dict but {_kind(found)}")
    inner = [key for key, value in found.items() if _is_state(value)]
    other = [key for key, value in found.items() if not isinstance(value, Tensor)]
    if other:
        hint = f"; `state: {inner[0]}` in the configuration reads that one" if inner else ""
        raise UserError(
            f"{place}: is no state dict: '{other[0]}' is {_kind(found[other[0]])}; it has"
            f" {_keys(found)}{hint}"
        )
    if prefix is not None:
        named = {key[len(prefix) :]: found[key] for key in found if key.startswith(prefix)}
        if not named:
            raise UserError(
                f"{place}: no name begins with '{prefix}' (`prefix`); it has {_keys(found)}"
            )
        found = named
    return dict(found)


def _loaded(place: str) -> Any:
    try:
        if place.endswith(".safetensors"):
            from safetensors.torch import load_file

            return load_file(place)
        return torch.load(place, map_location="cpu", weights_only=True)
    except Exception as error:  # readers raise what they like over damaged bytes
        lines = str(error).splitlines() or [type(error).__name__]
        if type(error).__name__ == "UnpicklingError":  # torch's own refusal; no pickle is read here
            asked = re.search(r"GLOBAL (\S+)", str(error))
            what = f"it asks for {asked[1]}" if asked else lines[0].rstrip(". ")
            raise UserError(
                f"{place}: not read: it holds more than tensors: {what}; save its state dict alone"
            ) from None
        raise UserError(f"{place}: not a checkpoint that torch reads: {lines[0]}") from None


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(one, Tensor) for one in value.values())
    )


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a mapping of {len(value)} keys"
    return f"a {type(value).__name__}"


def _keys(found: Any) -> str:
    if not isinstance(found, Mapping):
        return f"none, being {_kind(found)}"
    shown = [f"'{key}'" for key in list(found)[:4]]
    return ", ".join(shown) + (f" and {len(found) - 4} more" if len(found) > 4 else "")


def as_point(
    values: Mapping[str, Tensor], model: Model, name: str, place: str, headless: bool
) -> dict[str, Tensor]:
    """A state dict as a point of a model, after every name and shape.

    Args:
        values: by the names of the module, or those of `renaming`: parameters,
            `LAYER.running_mean` and `running_var`.
        name: of the model, for messages.
        place: of the file, which begins a message.
        headless: whether the last layer is left out, whatever its shape; it may be missing.

    Raises:
        UserError: it is not the state of such a network: one line.
    """
    values = renamed(values)
    drawn = model.initial(generator("shapes", "body"), generator("shapes", "head"))
    head = {key for key, group in model.groups.items() if group == "head"}
    shapes = {key: tuple(value.shape) for key, value in drawn.items()}
    targets = {key: key for key in shapes}
    for layer, channels in model.normalised.items():
        for theirs, ours in MOMENTS.items():
            shapes[f"{layer}.{theirs}"] = (channels,)
            targets[f"{layer}.{theirs}"] = f"{ours}/{layer}"
    passed_over = {f"{layer}.{COUNTER}" for layer in model.normalised}
    passed_over |= getattr(model, "constants", frozenset())
    if headless:
        passed_over |= head
        shapes = {key: shape for key, shape in shapes.items() if key not in head}
    missing = [key for key in shapes if key not in values]
    strange = [key for key in values if key not in shapes and key not in passed_over]
    if missing:
        begins = _common(strange)
        hint = f"; its names begin with '{begins}': `prefix: {begins}`?" if begins else ""
        raise UserError(
            f"{place}: is no {name}: '{missing[0]}' is missing{_more(missing)}; it has"
            f" {_keys(values)}{hint}"
        )
    if strange:
        raise UserError(f"{place}: is no {name}, which has no '{strange[0]}'{_more(strange)}")
    for key, shape in shapes.items():
        found = tuple(values[key].shape)
        if found == shape:
            continue
        if key in head and found[1:] == shape[1:]:
            raise UserError(
                f"{place}: its last layer tells {found[0]} classes apart, the data have {shape[0]}"
                f" ('{key}'); `take: backbone` draws a new one"
            )
        raise UserError(
            f"{place}: is no {name}: '{key}' is of {_size(found)} there and of {_size(shape)} in it"
        )
    point = {targets[key]: values[key].detach().float().contiguous() for key in shapes}
    for key in shapes:
        if not values[key].is_floating_point():
            raise UserError(f"{place}: '{key}' is of whole numbers ({values[key].dtype})")
        if not bool(point[targets[key]].isfinite().all()):
            raise UserError(f"{place}: '{key}' holds numbers that are not finite")
    return point


def _common(names: list[str]) -> str:
    """The part up to a dot that all names begin with, such as "module."; empty if there is none."""
    begins = {name.partition(".")[0] for name in names}
    return f"{begins.pop()}." if len(begins) == 1 and all("." in name for name in names) else ""


def _more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "one number"
