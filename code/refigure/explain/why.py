"""`refigure why TARGET`: the chain from a target down to specs, what of it is stale, and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from refigure.explain.holdings import Holdings, differing, leaves
from refigure.explain.ledger import Change
from refigure.explain.staleness import Reason, Staleness
from refigure.explain.target import Target
from refigure.explain.text import counted, wrapped
from refigure.graph.experiments import Run
from refigure.graph.packs import Pack
from refigure.graph.steps import Step

ORDER = ("summary", "report", "verdicts", "figure", "claim", "index", "table", "measure", "train")
ORDER = (*ORDER, "prepare")
SHOWN = 6  # files or changes of one reason that are printed; --json has all


def why(target: Target) -> dict[str, Any]:
    """The state of everything a target rests on.

    Returns:
        `target`; `jobs`: each `{job, rule, names, stale, reasons}` from the target down; `specs`:
        each `{experiment, runs, packs, says, axes}`; `notes`: what Snakemake does not look at.
    """
    staleness = Staleness(target.graph, target.files)
    holdings = Holdings(target.graph)
    jobs, notes = [], []
    for step in sorted(staleness.chain.values(), key=lambda step: ORDER.index(step.rule)):
        reasons = staleness.reasons.get(step.label, [])
        if step.rule == "train":
            reasons = [*reasons, *_of_new_pack(step, reasons, holdings, target)]
            notes += _unrecorded(step, staleness, holdings)
        jobs.append(
            {
                "job": step.label,
                "rule": step.rule,
                "names": list(step.names),
                "stale": staleness.stale(step.label),
                "reasons": [_reason(reason) for reason in reasons],
            }
        )
    notes += _without_records(staleness)
    trained = [step.names[0] for step in staleness.chain.values() if step.rule == "train"]
    return {
        "target": target.target,
        "scale": target.graph.scale.name,
        "jobs": jobs,
        "specs": specs(target, trained),
        "notes": notes,
    }


def _reason(reason: Reason) -> dict[str, Any]:
    return {
        "kind": reason.kind,
        "text": reason.text,
        "changes": [vars(change) | {"text": str(change)} for change in reason.changes],
        "files": list(reason.files),
    }


def _of_new_pack(
    step: Step, reasons: Sequence[Reason], holdings: Holdings, target: Target
) -> list[Reason]:
    """What a pack's job adopts, and what makes one that is not there another than the others."""
    if not reasons:
        return []
    pack = target.graph.pack(step.names[0])
    taken = holdings.adoptable(pack)
    found = []
    if taken:
        text = f"{len(taken)} of its {counted(len(pack.runs), 'network')} will be adopted"
        found.append(Reason("adopted", text))
    if not any(reason.kind == "missing" for reason in reasons):
        return found
    keys: Counter[Change] = Counter()
    for run in pack.runs:
        near = None if run.id in taken else holdings.nearest(run)
        if near is not None:
            keys.update(_of_new_run(run, near, pack, holdings))
    if keys:
        text = f"against the nearest of {_former(holdings, pack.runs[0])} that are there"
        found.append(Reason("configuration", text, tuple(keys)))
    return found


def _former(holdings: Holdings, run: Run) -> str:
    count = sum(
        about["experiment"] == run.experiment
        for runs in holdings.former.values()
        for about in runs.values()
    )
    return counted(count, "former network")


def _of_new_run(run: Run, near: tuple, pack: Pack, holdings: Holdings) -> Iterable[Change]:
    about, ways = near
    for key, (old, new) in ways.items():
        recipes = (holdings.recipe(old), holdings.recipe(new)) if key == "data" else None
        if recipes and None not in recipes:
            for inner, (was, now) in differing(*map(dict, map(leaves, recipes))).items():
                yield Change("configuration", f"data.{inner}", how=f"{was} -> {now}")
        else:
            yield Change("configuration", key, how=f"{old} -> {new}")
    if not ways:
        code = holdings.graph.training_code(pack)
        for module, digest in code.items():
            if about["code"].get(module) != digest:
                yield Change("code", module, how="changed or not recorded then")
        for kind, wanted in pack.wanted.as_json().items():
            for more in wanted:
                if more not in about["wanted"].get(kind, ()):
                    yield Change("configuration", f"{kind}: {more}", how="is wanted now")


def _unrecorded(step: Step, staleness: Staleness, holdings: Holdings) -> list[str]:
    """A pack that Snakemake keeps for want of a record, though other code trained it."""
    if staleness.stale(step.label) or staleness.records.of(step.outputs[0]) is not None:
        return []
    changes: dict[str, None] = {}
    for about in holdings.of_pack(step.names[0]).values():
        made = {
            name: provenance
            for name, provenance in step.provenance["code"].items()
            if about["code"].get(name) != str(provenance)
        }
        before = {name: about["code"][name] for name in made if name in about["code"]}
        for change in staleness.changes_of_modules(before, made):
            changes[str(change)] = None
    if not changes:
        return []
    said = "; ".join(changes)
    return [f"{step.label}: Snakemake has no record of it and keeps it; other code made it: {said}"]


def _without_records(staleness: Staleness) -> list[str]:
    """Results that are there without a record of Snakemake, as after a copy of `results/`."""
    root = staleness.graph.config.root
    lost = [
        step
        for step in staleness.chain.values()
        if all((root / file).is_file() for file in step.outputs)
        and staleness.records.of(step.outputs[0]) is None
    ]
    if not lost:
        return []
    return [
        f"Snakemake has no record of {counted(len(lost), 'result')} that are there (its records lie"
        " in .snakemake/metadata): it goes by the times of their files alone, and a change of code"
        " or configuration since then is not seen"
    ]


# ---------------------------------------------------------------------- specs


def specs(target: Target, packs: Iterable[str]) -> list[dict[str, Any]]:
    """What some packs train, by experiment: the keys that all its runs share, and the axes."""
    runs: dict[str, list[Run]] = defaultdict(list)
    names: Counter[str] = Counter()
    for name in packs:
        for run in target.graph.pack(name).runs:
            runs[run.experiment].append(run)
        names[target.graph.pack(name).runs[0].experiment] += 1
    found = []
    for experiment, members in runs.items():
        axes = {
            axis: list(dict.fromkeys(run.axes.get(axis) for run in members))
            for axis in members[0].axes
        }
        shared = dict(leaves(members[0].spec.identity))
        for run in members[1:]:
            own = dict(leaves(run.spec.identity))
            shared = {key: value for key, value in shared.items() if own.get(key) == value}
        found.append(
            {
                "experiment": experiment,
                "file": target.graph.experiments[experiment].file,
                "runs": len(members),
                "packs": names[experiment],
                "shared": shared,
                "axes": axes,
            }
        )
    return found


# ---------------------------------------------------------------------- as text


def text(found: Mapping[str, Any]) -> str:
    """What `why` found, in 80 columns: a paragraph a kind of job, alike ones together."""
    jobs = found["jobs"]
    stale = [job for job in jobs if job["stale"]]
    said = f"{len(stale)} of {counted(len(jobs), 'job')} would run" if stale else "up to date"
    lines = [found["target"], f"  {said}", ""]
    for rule in ORDER:
        alike: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for job in jobs:
            if job["rule"] == rule:
                alike[_state(job)].append(job)
        for state, members in alike.items():
            lines += _paragraph(rule, state, members)
    for spec in found["specs"]:
        lines += _spec(spec)
    for note in found["notes"]:
        lines += wrapped(f"note: {note}")
    return "\n".join(lines)


def _state(job: Mapping[str, Any]) -> str:
    """Jobs of one state are told in one paragraph."""
    if not job["stale"]:
        return "up to date"
    said = []
    for reason in job["reasons"]:
        about = [change["text"] for change in reason["changes"]]
        if reason["kind"] in ("newer", "inputs", "half-done"):
            about += reason["files"]
        said.append("\n".join([reason["text"], *about]))
    return "\n\n".join(said)


def _paragraph(rule: str, state: str, members: Sequence[Mapping[str, Any]]) -> list[str]:
    names = [" ".join(job["names"]) for job in members]
    head = f"{rule:<9}" + (f"{len(names)}: " if len(names) > 1 else "")
    shown = names if len(names) <= SHOWN else [*names[: SHOWN - 1], f"and {len(names) - SHOWN + 1}"]
    if len(names) > SHOWN:
        shown[-1] += " more"
    first = wrapped(head + ", ".join(name for name in shown if name), indent=11)
    if state == "up to date":
        return [*first, f"{'':9}up to date"]
    lines = [*first, f"{'':9}STALE"]
    for reason in state.split("\n\n"):
        said, *about = reason.split("\n")
        lines += wrapped(f"{'':9}- {said}", indent=11)
        for item in about[:SHOWN]:
            lines += wrapped(f"{'':11}{item}", indent=13)
        if len(about) > SHOWN:
            lines.append(f"{'':11}and {len(about) - SHOWN} more (--json has all)")
    return lines


def _spec(spec: Mapping[str, Any]) -> list[str]:
    head = f"{'spec':<9}{spec['experiment']} ({spec['file']}):"
    head += f" {counted(spec['runs'], 'network')} in {counted(spec['packs'], 'pack')}"
    shared = [f"{key} {value}" for key, value in spec["shared"].items()]
    axes = [f"{axis} {_values(values)}" for axis, values in spec["axes"].items()]
    return [
        *wrapped(head, indent=11),
        *wrapped(f"{'':11}{', '.join(shared)}", indent=11),
        *wrapped(f"{'':11}{'; '.join(axes)}", indent=11),
    ]


def _values(values: Sequence[Any]) -> str:
    shown = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
    if len(shown) > 8:
        shown = [*shown[:3], "...", shown[-1], f"({len(values)})"]
    return " ".join(shown)
