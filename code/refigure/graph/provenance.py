"""The provenance of a result: code, configuration and the cells of a notebook, each by its digest.

The digests are the parameters by which Snakemake knows a result as stale; what they stand for is
kept here too, so that a stale result can say which function, key or cell became another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from refigure.graph.fingerprint import cell_digests, fingerprint, notebook_digest, outline
from refigure.graph.spec import digest


@dataclass(frozen=True)
class Provenance:
    """The things of one result that may change under it, besides its input files.

    Args:
        modules: whose code, with all it rests on, is fingerprinted together.
        configured: key -> what the configuration says, in the order in which it is digested; None
            where nothing of it is.
        notebook: whose cells draw the result, if any.
    """

    modules: tuple[str, ...]
    configured: Mapping[str, Any] | None = None
    notebook: Path | None = field(default=None)

    def parts(self) -> list[tuple[str, str]]:
        """(kind, digest) of the notebook's cells, the code and the configuration, in that order."""
        found = [] if self.notebook is None else [("cells", notebook_digest(self.notebook))]
        found.append(("code", fingerprint(self.modules)))
        if self.configured is not None:
            found.append(("configured", digest(list(self.configured.values()))))
        return found

    def __str__(self) -> str:
        """The parameter: the digests, a space between."""
        return " ".join(part for _, part in self.parts())

    def content(self, kind: str) -> Any:
        """What the digest of that kind stands for, as JSON: to be compared with another's."""
        if kind == "cells":
            return cell_digests(self.notebook)
        return outline(self.modules) if kind == "code" else dict(self.configured)
