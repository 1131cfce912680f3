"""A vision transformer for small images, with layer norm inside its perceptrons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from refigure.models.layers import (
    Group,
    Noise,
    Parameter,
    Stacking,
    Statistics,
    draw,
    dropout,
    layer_norm,
    linear,
)

HEAD = 64
"""Width of an attention head, whatever `dim` is."""

SHIFTS = ((0, 1), (0, -1), (1, 0), (-1, 0))
"""Rows and columns by which an image's copies are moved: right, left, down, up."""


def build(
    channels: int,
    size: int,
    classes: int,
    *,
    patch: int = 4,
    dim: int = 512,
    depth: int = 6,
    heads: int = 8,
    mlp: int = 512,
    dropout: float = 0.1,
) -> ViT:
    """The ViT-small of the sources.

    Patches are of the image and its four copies shifted by a pixel (zeros come in), with layer norm
    before they are embedded; heads of 64 numbers, of which no token attends to itself, at a learned
    temperature; in each perceptron layer norm follows both linear maps (the sources'
    "vit_small_si"); the class token's output, by layer norm and a linear map, gives the logits.
    Dropout after the embedding, after attention, and after both halves of a perceptron.

    Args:
        channels: of an image.
        size: height and width of an image, pixels.
        classes: number of logits.
        patch: height and width of a patch, pixels; must divide `size`.
        dim: width of a token.
        depth: blocks of attention and perceptron.
        heads: of attention.
        mlp: width inside the perceptrons.
        dropout: rate.

    Raises:
        ValueError: `patch` does not divide `size`.

    Source: where-large-lrs, section 4.5; Lee et al. 2021, arXiv:2112.13492 (shifted patches,
    attention by locality).
    """
    if size % patch:
        raise ValueError(f"patch {patch} does not divide the image's size {size}")
    return ViT(channels, size, classes, patch, dim, depth, heads, mlp, dropout)


@dataclass(frozen=True)
class ViT:
    """See `build`; the attributes are its arguments.

    One network at a time: the activations of one fill a GPU's memory at the paper's batch.
    """

    channels: int
    size: int
    classes: int
    patch: int
    dim: int
    depth: int
    heads: int
    mlp: int
    dropout: float

    @property
    def stacking(self) -> Stacking:
        return "single"

    @property
    def _parameters(self) -> dict[str, Parameter]:
        parameters: dict[str, Parameter] = {}

        def norm(name: str, width: int) -> None:
            parameters[f"{name}.weight"] = Parameter((width,), "free", 1.0)
            parameters[f"{name}.bias"] = Parameter((width,), "free", 0.0)

        def dense(name: str, inputs: int, outputs: int, group: Group = "free") -> None:
            parameters[f"{name}.weight"] = Parameter((outputs, inputs), group, fan_in=inputs)
            parameters[f"{name}.bias"] = Parameter((outputs,), group, fan_in=inputs)

        pixels = self.channels * (1 + len(SHIFTS)) * self.patch**2
        tokens = (self.size // self.patch) ** 2 + 1
        norm("patches.norm", pixels)
        dense("patches", pixels, self.dim)
        parameters["positions"] = Parameter((tokens, self.dim), "free", "normal")
        parameters["class_token"] = Parameter((self.dim,), "free", "normal")
        inner = self.heads * HEAD
        for block in self._blocks:
            norm(f"{block}.attention.norm", self.dim)
            temperature = torch.tensor(HEAD**-0.5).log().item()
            parameters[f"{block}.attention.temperature"] = Parameter((1,), "free", temperature)
            qkv = Parameter((3 * inner, self.dim), "free", fan_in=self.dim)
            parameters[f"{block}.attention.qkv.weight"] = qkv
            dense(f"{block}.attention.out", inner, self.dim)
            norm(f"{block}.mlp.norm", self.dim)
            dense(f"{block}.mlp.first", self.dim, self.mlp)
            norm(f"{block}.mlp.first.norm", self.mlp)
            dense(f"{block}.mlp.second", self.mlp, self.dim)
            norm(f"{block}.mlp.second.norm", self.dim)
        norm("linear.norm", self.dim)
        dense("linear", self.dim, self.classes, "head")
        return parameters

    @property
    def _blocks(self) -> list[str]:
        return [f"block{number}" for number in range(1, self.depth + 1)]

    @property
    def groups(self) -> dict[str, Group]:
        return {name: parameter.group for name, parameter in self._parameters.items()}

    @property
    def normalised(self) -> dict[str, int]:
        return {}

    def initial(self, generator: Generator, head_generator: Generator) -> dict[str, Tensor]:
        return draw(self._parameters, generator, head_generator)

    def forward(
        self,
        parameters: Mapping[str, Tensor],
        images: Tensor,
        statistics: Statistics,
        noise: Noise | None = None,
    ) -> Tensor:
        def norm(x: Tensor, name: str) -> Tensor:
            return layer_norm(x, parameters[f"{name}.weight"], parameters[f"{name}.bias"])

        def dense(x: Tensor, name: str) -> Tensor:
            flat = linear(
                x.flatten(1, -2), parameters[f"{name}.weight"], parameters.get(f"{name}.bias")
            )
            return flat.unflatten(1, x.shape[1:-1])

        x = dense(norm(self._patches(images), "patches.norm"), "patches")
        first = parameters["class_token"][:, None, None].expand(-1, x.shape[1], 1, -1)
        x = torch.cat([first, x], 2) + parameters["positions"].unsqueeze(1)
        x = dropout(x, self.dropout, noise, "patches")
        for block in self._blocks:
            y = norm(x, f"{block}.attention.norm")
            y = self._attend(
                dense(y, f"{block}.attention.qkv"), parameters[f"{block}.attention.temperature"]
            )
            y = dense(y, f"{block}.attention.out")
            x = x + dropout(y, self.dropout, noise, f"{block}.attention")
            y = norm(
                dense(norm(x, f"{block}.mlp.norm"), f"{block}.mlp.first"), f"{block}.mlp.first.norm"
            )
            y = dropout(F.gelu(y), self.dropout, noise, f"{block}.mlp.first")
            y = norm(dense(y, f"{block}.mlp.second"), f"{block}.mlp.second.norm")
            x = x + dropout(y, self.dropout, noise, f"{block}.mlp.second")
        return linear(
            norm(x[:, :, 0], "linear.norm"), parameters["linear.weight"], parameters["linear.bias"]
        )

    def _patches(self, images: Tensor) -> Tensor:
        """Patches of the image and its shifted copies, (networks, images, patches, pixels)."""
        padded = F.pad(images, (1, 1, 1, 1))
        views = [images] + [
            padded[..., 1 - row : 1 - row + self.size, 1 - column : 1 - column + self.size]
            for row, column in SHIFTS
        ]
        x = torch.cat(views, dim=2)
        x = x.unflatten(-2, (-1, self.patch)).unflatten(-1, (-1, self.patch))
        # (networks, images, channels, rows, inner row, columns, inner column)
        return x.permute(0, 1, 3, 5, 4, 6, 2).flatten(4).flatten(2, 3)

    def _attend(self, qkv: Tensor, temperature: Tensor) -> Tensor:
        """Each token's mean of the others' values, by softmax of their scaled products."""
        q, k, v = qkv.unflatten(-1, (3, self.heads, HEAD)).permute(3, 0, 1, 4, 2, 5)
        q = q * temperature.exp().view(-1, 1, 1, 1, 1)
        tokens = q.shape[-2]
        others = ~torch.eye(tokens, dtype=torch.bool, device=q.device)
        q, k, v = (part.flatten(0, 1) for part in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=others, scale=1.0)
        return y.unflatten(0, (len(qkv), -1)).transpose(-3, -2).flatten(-2)
