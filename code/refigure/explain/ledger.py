"""What the digests in Snakemake's parameters stand for, kept beside the results they made.

A parameter says that the code or the configuration of a result is another; only what was digested
can say which function or key. `results/<scale>/made_with.jsonl` holds it, a line a digest, each
once: of code the modules, of a module its functions, of the configuration its keys, of a
notebook its cells.
It is only ever added to, and no result depends on it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from refigure.explain.holdings import leaves
from refigure.graph.fingerprint import functions
from refigure.graph.provenance import Provenance
from refigure.graph.spec import canonical
from refigure.graph.steps import Step

FILE = "made_with.jsonl"
DIGITS = 16  # hexadecimal, of a module's own digest


@dataclass(frozen=True, order=True)
class Change:
    """One thing that is not what it was when a result was made.

    Args:
        kind: "code", "configuration" or "notebook".
        name: the module, the key or the cell.
        part: the function of a module; "" where that is not known or makes no sense.
        how: "changed", "added", "removed", or the old and the new value.
    """

    kind: str
    name: str
    part: str = ""
    how: str = "changed"

    def __str__(self) -> str:
        """One line: `refigure.training.optimisers.sgd: SphereSGD.step changed`."""
        return f"{self.name}{': ' if self.part else ' '}{self.part} {self.how}".replace("  ", " ")


class Ledger:
    """The digests of one scale.

    Args:
        results: `results/<scale>`.
    """

    def __init__(self, results: Path):
        self.path = results / FILE

    @cached_property
    def known(self) -> dict[str, Any]:
        """Digest -> what it stands for. A line that a kill left half-written is no line."""
        found = {}
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                    found[entry["digest"]] = entry["of"]
                except (ValueError, KeyError, TypeError):
                    continue
        return found

    def record(self, steps: Iterable[Step]) -> int:
        """Add what these jobs are made with, as far as it is not there; returns the lines added."""
        entries: dict[str, Any] = {}
        for step in steps:
            for provenance in provenances(step):
                for kind, digest in provenance.parts():
                    if digest in self.known or digest in entries:
                        continue
                    content = provenance.content(kind)
                    entries[digest] = content
                    if kind == "code":
                        entries[digest] = {name: own[:DIGITS] for name, own in content.items()}
                        for name, own in entries[digest].items():
                            if own not in self.known and own not in entries:
                                entries[own] = functions(name)
        if entries:
            lines = [
                canonical({"digest": digest, "of": of}) + "\n" for digest, of in entries.items()
            ]
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as stream:
                with contextlib.suppress(OSError):  # a file system without locks
                    fcntl.flock(stream, fcntl.LOCK_EX)
                if stream.tell():
                    lines.insert(0, "\n")  # ends a line that a kill cut short
                stream.write("".join(lines))
            self.known.update({digest: json.loads(canonical(of)) for digest, of in entries.items()})
        return len(entries)

    def changes(self, before: str, provenance: Provenance) -> list[Change]:
        """What is not as it was.

        Args:
            before: the parameter that was recorded.
            provenance: what the result is made with now.
        """
        now = provenance.parts()
        digests = before.split(" ")
        if len(digests) != len(now):
            return [Change("code", "recorded by another version of Refigure", how="")]
        found: list[Change] = []
        for old, (kind, new) in zip(digests, now):
            if old != new:
                compare = {
                    "code": self._code,
                    "configured": self._configured,
                    "cells": self._cells,
                }[kind]
                found += compare(self.known.get(old), provenance)
        return found

    def _code(self, before: Mapping[str, str] | None, provenance: Provenance) -> Iterator[Change]:
        if before is None:
            yield Change(
                "code", provenance.modules[0], "or what it rests on", "(not recorded which)"
            )
            return
        now = {name: own[:DIGITS] for name, own in provenance.content("code").items()}
        for name in sorted({*before, *now}):
            if name not in now or name not in before:
                yield Change("code", name, how="added" if name in now else "removed")
            elif before[name] != now[name]:
                yield from self._functions(name, self.known.get(before[name]))

    def _functions(self, module: str, before: Mapping[str, str] | None) -> Iterator[Change]:
        if before is None:
            yield Change("code", module)
            return
        for name, how in _differing(before, functions(module)):
            yield Change("code", module, name, how)

    def _configured(
        self, before: Mapping[str, Any] | None, provenance: Provenance
    ) -> Iterator[Change]:
        if before is None:
            yield Change("configuration", "its entry", how="changed (not recorded where)")
            return
        old = dict(leaves(before))
        new = dict(leaves(json.loads(canonical(provenance.content("configured")))))
        for name, how in _differing(old, new):
            if how == "changed":
                how = _step(old[name], new[name])
            yield Change("configuration", name, how=how)

    def _cells(self, before: list[str] | None, provenance: Provenance) -> Iterator[Change]:
        notebook = provenance.notebook.name
        if before is None:
            yield Change("notebook", notebook)
            return
        now = provenance.content("cells")
        if len(before) != len(now):
            yield Change("notebook", notebook, how=f"had {len(before)} cells, has {len(now)}")
            return
        for number, (old, new) in enumerate(zip(before, now), 1):
            if old != new:
                yield Change("notebook", notebook, f"cell {number}")


def provenances(step: Step) -> Iterator[Provenance]:
    """All that a job is made with."""
    for made in step.provenance.values():
        yield from made.values() if isinstance(made, Mapping) else [made]


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in [*now, *(name for name in before if name not in now)]:
        if name not in before:
            yield name, "added"
        elif name not in now:
            yield name, "removed"
        elif before[name] != now[name]:
            yield name, "changed"


def _step(old: Any, new: Any) -> str:
    if isinstance(old, list) and isinstance(new, list) and max(len(old), len(new)) > 4:
        gone = sum(item not in new for item in old)
        come = sum(item not in old for item in new)
        return f"{come} added, {gone} removed" if gone or come else "in another order"
    said = f"{canonical(old)} -> {canonical(new)}"
    return said if len(said) <= 60 else "changed"
