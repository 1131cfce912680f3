"""Which jobs of a chain would run, and why: Snakemake's own rules, on Snakemake's own records.

Snakemake reruns a job whose output is missing though asked for, half-done, or older than an input
of other content, whose parameters or set of inputs are not the recorded ones, or whose inputs are
made anew. `tests/test_why.py` holds this to what `snakemake -n` says.
"""

from __future__ import annotations

import ast
import hashlib
import json
from base64 import urlsafe_b64encode
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from refigure.explain.ledger import Change, Ledger
from refigure.graph.lookups import Graph
from refigure.graph.provenance import Provenance
from refigure.graph.steps import Step, Steps

RECORD_FORMAT = 6  # of Snakemake's records; older ones hold no parameters to rely on
CHECKSUM_BELOW = 1_000_000  # bytes: of smaller inputs Snakemake compares the content too
NAME_MAX = 255


@dataclass(frozen=True)
class Reason:
    """Why a job would run.

    Args:
        kind: "missing", "half-done", "newer", "code", "configuration", "inputs" or "upstream".
        text: in words.
        changes: what is not as it was.
        files: the files that it is about.
    """

    kind: str
    text: str
    changes: tuple[Change, ...] = ()
    files: tuple[str, ...] = ()


class Records:
    """What Snakemake recorded of the files it made: `.snakemake/` of the checkout.

    Args:
        root: folder of the checkout.
    """

    def __init__(self, root: Path):
        self.root = root
        self.folder = root / ".snakemake"

    def of(self, file: str) -> Mapping[str, Any] | None:
        """The record of a file; None where there is none that says anything."""
        path = self.path(file)
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        return record if record.get("record_format_version", 0) >= RECORD_FORMAT else None

    def path(self, file: str, kind: str = "metadata") -> Path:
        """Where Snakemake keeps what it knows of a file: named by base64, cut where too long."""
        name = urlsafe_b64encode(file.encode()).decode()
        cuts = [name[at : at + NAME_MAX - 1] for at in range(0, len(name), NAME_MAX - 1)]
        return self.folder.joinpath(kind, *(f"@{cut}" for cut in cuts[:-1]), cuts[-1])

    def half_done(self, file: str) -> bool:
        """Whether the job that wrote it was killed."""
        return self.path(file, "incomplete").exists() and (self.root / file).exists()


class Staleness:
    """The state of a chain of jobs.

    Args:
        graph: of the scale.
        files: what is asked for.
    """

    def __init__(self, graph: Graph, files: Iterable[str]):
        self.graph, self.root = graph, graph.config.root
        self.files = list(files)
        self.chain: dict[str, Step] = Steps(graph).chain(self.files)
        self.records = Records(self.root)
        self.ledger = Ledger(graph.paths.results)
        self.maker = {file: step for step in self.chain.values() for file in step.outputs}
        self.readers: dict[str, list[Step]] = defaultdict(list)
        for step in self.chain.values():
            for name in dict.fromkeys(maker.label for _, maker in self._makers(step)):
                self.readers[name].append(step)
        self.reasons = self._reasons()

    def _makers(self, step: Step) -> list[tuple[str, Step]]:
        """The inputs of a job that other jobs write; what the checkout has is written by none."""
        return [(file, self.maker[file]) for file in step.inputs if file in self.maker]

    def stale(self, label: str) -> bool:
        """Whether a job would run."""
        return label in self.reasons

    @cache  # noqa: B019 - lives as long as one command
    def _time(self, file: str) -> float | None:
        try:
            return (self.root / file).stat().st_mtime
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _there(self, file: str) -> bool:
        return self._time(file) is not None

    def _reasons(self) -> dict[str, list[Reason]]:
        """Job -> reasons, of the jobs that would run."""
        asked = set(self.files)
        found: dict[str, list[Reason]] = {}
        for step in self.chain.values():
            missing = [file for file in step.outputs if file in asked and not self._there(file)]
            reasons = [_missing(missing)] if missing else self._own(step)
            if reasons:
                found[step.label] = reasons
        waiting = list(found)
        while waiting:
            step = self.chain[waiting.pop()]
            for file, maker in self._makers(step):
                if not self._there(file) and maker.label not in found:
                    gone = [name for name in maker.outputs if not self._there(name)]
                    found[maker.label] = [_missing(gone)]
                    waiting.append(maker.label)
            for reader in self.readers[step.label]:
                if reader.label not in found:
                    found[reader.label] = []
                    waiting.append(reader.label)
        for label in found:
            above = [maker.label for _, maker in self._makers(self.chain[label])]
            anew = [name for name in dict.fromkeys(above) if name in found]
            if anew and not any(reason.kind == "missing" for reason in found[label]):
                text = "what it reads is made anew"
                found[label].append(Reason("upstream", text, files=tuple(anew)))
        return found

    def _own(self, step: Step) -> list[Reason]:
        """Why a job whose outputs need not be there would run by itself."""
        half = [file for file in step.outputs if self.records.half_done(file)]
        if half:
            return [Reason("half-done", "its job was killed while it wrote", files=tuple(half))]
        newer = self._newer(step)
        if newer:
            return [Reason("newer", "older than what it reads", files=tuple(newer))]
        records = [self.records.of(file) for file in step.outputs]
        if None in records:
            return []  # without a record of all its files Snakemake compares times alone
        reasons = []
        recorded = {_text(value) for record in records for value in record["params"] or []}
        if recorded != set(step.params.values()):
            changes = self.changes(step, recorded)
            kinds = dict.fromkeys(change.kind for change in changes)
            kind = next(iter(kinds), "configuration")
            text = f"{' and '.join(kinds) or 'configuration'} changed"
            reasons.append(Reason(kind, text, tuple(changes)))
        before = set().union(*(record["input"] or [] for record in records))
        now = set(step.inputs)
        if before != now:
            files = (*(f"+ {file}" for file in sorted(now - before)),)
            files += (*(f"- {file}" for file in sorted(before - now)),)
            reasons.append(Reason("inputs", "it reads other files than it did", files=files))
        return reasons

    def _newer(self, step: Step) -> list[str]:
        """Inputs that are newer than the oldest output and not of the recorded content."""
        times = [self._time(file) for file in step.outputs if self._there(file)]
        if not times:
            readers = self.readers[step.label]
            times = [
                self._time(file)
                for reader in readers
                for file in reader.outputs
                if self._there(file)
            ]
        if not times:
            return []
        late = [file for file in step.inputs if (self._time(file) or 0) > min(times)]
        return [file for file in late if not self._same(file, step)]

    def _same(self, file: str, step: Step) -> bool:
        path = self.root / file
        if path.stat().st_size > CHECKSUM_BELOW:
            return False
        records = [self.records.of(output) or {} for output in step.outputs]
        sums = {(record.get("input_checksums") or {}).get(file) for record in records}
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return sums == {f"sha256:{digest}"}

    def changes(self, step: Step, recorded: Iterable[str]) -> list[Change]:
        """What a job is made with that is not what it was.

        Args:
            recorded: the parameters then.
        """
        gone = [text for text in recorded if text not in step.params.values()]
        found: dict[Change, None] = {}
        for name, text in step.params.items():
            if text in recorded:
                continue
            made = step.provenance.get(name)
            by_module = isinstance(made, Mapping)
            old = next((text for text in gone if _like(text, by_module)), None)
            if made is None or old is None:
                found[Change("configuration", name)] = None
            elif by_module:
                found |= dict.fromkeys(self.changes_of_modules(json.loads(old), made))
            else:
                found |= dict.fromkeys(self.ledger.changes(old, made))
        return list(found)

    def changes_of_modules(
        self, before: Mapping[str, str], made: Mapping[str, Provenance]
    ) -> list[Change]:
        """What is not as it was, of digests by module as `run.json` holds them."""
        found: dict[Change, None] = {}
        for module, provenance in made.items():
            if module not in before:
                found[Change("code", module, how="added")] = None
            else:
                found |= dict.fromkeys(self.ledger.changes(before[module], provenance))
        for module in before:
            if module not in made:
                found[Change("code", module, how="removed")] = None
        return list(found)


def _missing(files: Iterable[str]) -> Reason:
    return Reason("missing", "not there", files=tuple(files))


def _text(value: str) -> str:
    """A recorded parameter, which Snakemake keeps as Python writes it."""
    try:
        return str(ast.literal_eval(value))
    except (ValueError, SyntaxError):
        return value


def _like(text: str, by_module: bool) -> bool:
    """Whether a recorded parameter has the form of a code parameter: digests, by module or not."""
    return text.startswith("{") if by_module else text[:1] not in "{["
