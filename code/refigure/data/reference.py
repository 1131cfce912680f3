"""The reference text of the Python language that ships inside the interpreter."""

from __future__ import annotations

import hashlib
from functools import cache


@cache
def topics() -> dict[str, str]:
    """The topics of Python's built-in help by name, sorted; ASCII, "?" for every other character.

    They differ between versions of Python: 79 topics, 465,048 characters in 3.11.7.

    Source: the module `pydoc_data.topics` of the standard library (PSF licence).
    """
    from pydoc_data.topics import topics as written

    return {
        name: written[name].encode("ascii", "replace").decode("ascii") for name in sorted(written)
    }


@cache
def reference_sha256() -> str:
    """The SHA-256 of the topics joined by newlines."""
    return hashlib.sha256("\n".join(topics().values()).encode("ascii")).hexdigest()
