"""Pictures inside the page: a PNG as a data URI, small enough for a hundred of them."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from refigure.errors import UserError

PICTURE_BYTES = 90_000
"""The most bytes of one embedded picture: a hundred of them are a page below 13 MB."""

SMALLER = 0.8  # each try has this share of the width of the one before
WIDE = 1.6  # width over height from which a figure stands above its text, not beside it


@dataclass(frozen=True)
class Picture:
    """A picture inside the page.

    Args:
        source: its data URI.
        width, height: pixels of the PNG, so that the page does not jump as it loads.
        reduced: pixels were lost to keep below `PICTURE_BYTES`.
    """

    source: str
    width: int
    height: int
    reduced: bool

    @property
    def wide(self) -> bool:
        """Whether it stands above its text."""
        return self.width > WIDE * self.height


def embedded(png: Path) -> Picture:
    """A PNG as a WebP that has its very pixels, or where these are too many, fewer of them.

    Raises:
        UserError: the file is no PNG.
    """
    try:
        with Image.open(png, formats=["PNG"]) as opened:
            image = opened.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError):
        raise UserError(f"{png}: not a PNG; remove it and build its figure again") from None
    width, height = image.size
    content, reduced = _webp(image, lossless=True), False
    while len(content) > PICTURE_BYTES:
        if reduced:
            size = (max(round(image.width * SMALLER), 1), max(round(image.height * SMALLER), 1))
            image = image.resize(size, Image.Resampling.LANCZOS)
        content, reduced = _webp(image, lossless=False), True
    source = f"data:image/webp;base64,{base64.b64encode(content).decode('ascii')}"
    return Picture(source, width, height, reduced)


def _webp(image: Image.Image, lossless: bool) -> bytes:
    content = io.BytesIO()
    image.save(content, "webp", lossless=lossless, quality=80, method=4)
    return content.getvalue()
