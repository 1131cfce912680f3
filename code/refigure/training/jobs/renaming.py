"""State dicts under the names that other code gives the same network, under torchvision's."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

SWIN = "patch_embed.proj.weight"  # is in Swin's own code and in timm's, not in torchvision's
SWIN_OUTSIDE = {
    "patch_embed.proj.": "features.0.0.",
    "patch_embed.norm.": "features.0.2.",
    "head.fc.": "head.",
}
SWIN_BLOCK = {"mlp.fc1.": "mlp.0.", "mlp.fc2.": "mlp.3."}
SWIN_CONSTANTS = ("attn.relative_position_index", "attn_mask")


def renamed(values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """A state dict under torchvision's names, where it is one of Swin's own code or of timm.

    The two differ in where a stage keeps the merging of patches: after its blocks (Swin's own code,
    so that the last stage has none) or before them (timm, so that the first has none). Tensors are
    laid out alike in all three. Index tables and masks, which are no weights, are left out.
    """
    if SWIN not in values:
        return values
    after = any(key.startswith("layers.0.downsample.") for key in values)
    return {
        _of_swin(key, after): value
        for key, value in values.items()
        if not key.endswith(SWIN_CONSTANTS)
    }


def _of_swin(key: str, after: bool) -> str:
    stage = re.fullmatch(r"layers\.(\d+)\.(blocks|downsample)\.(.+)", key)
    if stage is None:
        return _begun_anew(key, SWIN_OUTSIDE)
    number, part, rest = int(stage[1]), stage[2], stage[3]
    if part == "downsample":
        return f"features.{2 * (number + after)}.{rest}"
    block, _, inner = rest.partition(".")
    return f"features.{2 * number + 1}.{block}.{_begun_anew(inner, SWIN_BLOCK)}"


def _begun_anew(key: str, beginnings: Mapping[str, str]) -> str:
    for theirs, ours in beginnings.items():
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return key
