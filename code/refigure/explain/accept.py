"""`refigure accept TARGET --because TEXT`: results stay though the code that made them changed.

Snakemake's records and `run.json` get the digests of the code as it is now, so that nothing reruns
and finished runs can still be adopted. No file's time changes: what else reads them stays as it is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from refigure.errors import UserError
from refigure.explain.staleness import Staleness
from refigure.explain.target import Target
from refigure.files import read_json, write_json, write_text
from refigure.graph.steps import PACK_FILES, Step

LOG = "accepted.log"
ACCEPTED = ("code", "notebook")


def accept(target: Target, because: str) -> dict[str, Any]:
    """Keep what a target rests on over a change of code.

    Returns:
        `jobs`: those whose records were written anew; `changes`: what is accepted, as text.

    Raises:
        UserError: the reason is empty, Snakemake is at work, or a job of the chain would run for
            another reason than code: nothing is written then.
    """
    because = " ".join(because.split())
    if not because:
        raise UserError("--because: say why the results stay as they are")
    root = target.graph.config.root
    if any((root / ".snakemake/locks").glob("*")):
        raise UserError("Snakemake is at work in this folder (or was killed: snakemake --unlock)")
    staleness = Staleness(target.graph, target.files)
    _refuse_others(target.target, staleness)
    jobs, changes = [], {}
    for step in staleness.chain.values():
        found = [
            str(one) for reason in staleness.reasons.get(step.label, []) for one in reason.changes
        ]
        if found:
            _record(step, staleness)
        rewritten = step.rule == "train" and _mark_runs(step, target)
        if found or rewritten:
            jobs.append(step.label)
            changes |= dict.fromkeys(found)
    if jobs:
        staleness.ledger.record(staleness.chain.values())
        _log(target, because, jobs, list(changes))
    return {"target": target.target, "jobs": jobs, "changes": list(changes), "because": because}


def _refuse_others(target: str, staleness: Staleness) -> None:
    for label, reasons in staleness.reasons.items():
        for reason in reasons:
            others = [one for one in reason.changes if one.kind not in ACCEPTED]
            if reason.kind not in (*ACCEPTED, "upstream") or others:
                about = others[0] if others else ", ".join(reason.files[:1])
                raise UserError(
                    f"{target}: {label}: {reason.text}: {about}; only a change of code can be"
                    f" accepted, `snakemake -c 2 -- {target}` makes it anew"
                )


def _record(step: Step, staleness: Staleness) -> None:
    """Let Snakemake's records of a job's outputs hold its present parameters."""
    for file in step.outputs:
        path = staleness.records.path(file)
        record = json.loads(path.read_text(encoding="utf-8"))
        record["params"] = sorted(repr(text) for text in step.params.values())
        write_text(json.dumps(record), path)


def _mark_runs(step: Step, target: Target) -> bool:
    """Let a pack's `run.json` hold the present code, by which other packs adopt its runs."""
    folder = target.graph.paths.pack(step.names[0])
    path = folder / PACK_FILES[-1]
    if not path.is_file():
        return False
    now: Mapping[str, str] = target.graph.training_code(target.graph.pack(step.names[0]))
    content = read_json(path)
    before = json.dumps(content, sort_keys=True)
    for about in content["runs"].values():
        about["code"] |= now
    if json.dumps(content, sort_keys=True) == before:
        return False
    times = path.stat()
    write_json(content, path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    return True


def _log(target: Target, because: str, jobs: list[str], changes: list[str]) -> None:
    line = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "target": target.target,
        "because": because,
        "changes": changes,
        "jobs": jobs,
    }
    path: Path = target.graph.paths.results / LOG
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line, ensure_ascii=False) + "\n")


def text(found: Mapping[str, Any]) -> str:
    """What was accepted, in a few lines."""
    if not found["jobs"]:
        return f"{found['target']}: nothing to accept"
    from refigure.explain.text import counted, wrapped

    lines = [f"{found['target']}: {counted(len(found['jobs']), 'job')} kept"]
    for change in found["changes"]:
        lines += wrapped(f"  {change}", indent=4)
    return "\n".join(lines)
