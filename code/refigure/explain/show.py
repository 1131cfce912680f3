"""`refigure show RUN` and `refigure show PACK`: what was trained, by what, and who reads it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from refigure.errors import UserError
from refigure.explain.holdings import Holdings, leaves
from refigure.explain.text import columns, counted, wrapped
from refigure.graph.experiments import Run
from refigure.graph.lookups import Graph
from refigure.graph.packs import Pack
from refigure.graph.reading import suggest
from refigure.machine.progress import duration

DIGITS = 4  # of a run's id that are enough, where they name one only


def show(graph: Graph, name: str) -> dict[str, Any]:
    """What is known of a run or a pack.

    Args:
        name: a pack, or the id of a run or the beginning of one.

    Raises:
        UserError: the scale has no such run or pack, or several.
    """
    holdings = Holdings(graph)
    if name in graph.packs:
        return _pack(graph, graph.packs[name], holdings)
    runs, _ = graph.owned
    found = [run for run in runs if run.startswith(name)] if len(name) >= DIGITS else []
    if len(found) > 1:
        raise UserError(f"'{name}' begins {counted(len(found), 'run')}: {', '.join(found[:5])}")
    if not found:
        raise UserError(
            f"no run or pack '{name}' at scale '{graph.scale.name}'"
            f"{suggest(name, [*graph.packs, *runs])}"
        )
    return _run(graph, runs[found[0]], holdings)


def _run(graph: Graph, run: Run, holdings: Holdings) -> dict[str, Any]:
    pack = graph.packs[graph.pack_of[run.id]]
    about = holdings.of_pack(pack.name).get(run.id, {})
    parents = []
    child = run
    while child.parent is not None:
        parents.append({"run": child.parent.id, "label": child.parent.label, "point": child.point})
        child = child.parent
    return {
        "run": run.id,
        "label": run.label,
        "experiment": run.experiment,
        "file": graph.experiments[run.experiment].file,
        "seed": run.spec.seed,
        "spec": json.loads(json.dumps(run.spec.identity, default=list)),
        "starts_from": parents,
        "points": sorted(pack.wanted.points),
        "records": sorted(pack.wanted.as_json()["records"]),
        "predictions": sorted(pack.wanted.predictions),
        "pack": pack.name,
        "folder": str(graph.paths.pack(pack.name).relative_to(graph.config.root)),
        "trained": {
            key: about[key]
            for key in ("status", "last_epoch", "seconds", "device", "python", "torch", "stack")
            if key in about
        }
        or None,
        "by_pack": about.get("pack"),
        "code": about.get("code"),
        "used": used(graph, {run.id}),
    }


def _pack(graph: Graph, pack: Pack, holdings: Holdings) -> dict[str, Any]:
    about = holdings.of_pack(pack.name)
    folder = graph.paths.pack(pack.name)
    return {
        "pack": pack.name,
        "experiment": pack.runs[0].experiment,
        "file": graph.experiments[pack.runs[0].experiment].file,
        "folder": str(folder.relative_to(graph.config.root)),
        "bytes": sum(path.stat().st_size for path in folder.glob("*")),
        "data": pack.data,
        "runs": [
            {
                "run": run.id,
                "label": run.label,
                "axes": dict(run.axes),
                **{
                    key: about.get(run.id, {}).get(key)
                    for key in ("status", "last_epoch", "seconds")
                },
            }
            for run in pack.runs
        ],
        "devices": sorted({one["device"] for one in about.values()}),
        "versions": sorted(
            {f"Python {one['python']}, torch {one['torch']}" for one in about.values()}
        ),
        "starts_from": sorted({graph.pack_of[run.id] for run in pack.parents}),
        "points": sorted(pack.wanted.points),
        "used": used(graph, {run.id for run in pack.runs}),
    }


def used(graph: Graph, runs: Iterable[str]) -> dict[str, list[str]]:
    """Where the numbers of some runs go.

    Returns:
        `experiments` that list them, `runs` that start from them, `probes`, `tables` that read
        them or what is made of them, and `figures` and `claims` of those tables.
    """
    wanted = set(runs)
    children = {run.id for run in graph.owned[0].values() if run.parent and run.parent.id in wanted}
    listing = [
        name for name in graph.experiments if any(run.id in wanted for run in graph.runs(name))
    ]
    probes = [
        name
        for name, probe in graph.probes.items()
        if any(run.id in wanted for members in probe.roles.values() for run, _ in members)
    ]
    tables: dict[str, bool] = {}

    def reads(name: str) -> bool:
        if name not in tables:
            table = graph.table(name)
            tables[name] = (
                any(run.id in wanted for members in table.runs.values() for run in members)
                or any(probe in probes for probe in table.probes.values())
                or any(reads(other) for other in table.tables.values())
            )
        return tables[name]

    reading = [name for name in graph.config.families["tables"] if reads(name)]
    found: dict[str, list[str]] = defaultdict(list)
    for paper in graph.built:
        for kind, entries in (("figures", graph.figures(paper)), ("claims", graph.claims(paper))):
            for name, entry in entries.items():
                if any(table in reading for table in entry.tables.values()):
                    found[kind].append(f"{paper} {name}")
    return {
        "experiments": listing,
        "runs": sorted(children),
        "probes": probes,
        "tables": reading,
        "figures": found["figures"],
        "claims": found["claims"],
    }


# ---------------------------------------------------------------------- as text


def text(found: Mapping[str, Any]) -> str:
    """A run or a pack in 80 columns."""
    return "\n".join(_text_of_run(found) if "run" in found else _text_of_pack(found))


def _text_of_run(found: Mapping[str, Any]) -> list[str]:
    lines = [found["label"], ""]
    rows = [("seed", str(found["seed"]))]
    rows += [(key, str(value)) for key, value in leaves(found["spec"]) if key != "seed"]
    lines += [f"  {line}" for line in columns(rows)]
    lines.append("")
    for parent in found["starts_from"]:
        lines += wrapped(f"  starts from {parent['label']} at {parent['point']}", indent=4)
    lines += wrapped(f"  pack {found['folder']}", indent=4)
    trained = found["trained"]
    if trained is None:
        lines.append("  not trained yet")
    else:
        lines += wrapped(
            f"  {trained['status']} at epoch {trained['last_epoch']},"
            f" {duration(trained['seconds'])} on {trained['device']},"
            f" beside {max(trained['stack'][1] - 1, 0)} others;"
            f" Python {trained['python']}, torch {trained['torch']}",
            indent=4,
        )
        if found["by_pack"] != found["pack"]:
            lines += wrapped(f"  adopted from {found['by_pack']}", indent=4)
    for point in found["points"]:
        lines += wrapped(f"  leaves {point}", indent=4)
    return lines + _text_of_use(found["used"])


def _text_of_pack(found: Mapping[str, Any]) -> list[str]:
    lines = [found["pack"], ""]
    lines += wrapped(f"  {counted(len(found['runs']), 'network')} of {found['file']}", indent=4)
    lines += wrapped(f"  data {found['data']}", indent=4)
    lines += wrapped(f"  in {found['folder']}", indent=4)
    for said in (*found["devices"], *found["versions"]):
        lines += wrapped(f"  {said}", indent=4)
    for parent in found["starts_from"]:
        lines += wrapped(f"  starts from {parent}", indent=4)
    axes = list(found["runs"][0]["axes"])
    rows = [("run", *axes, "status", "epoch", "time")]
    for run in found["runs"]:
        seconds = run["seconds"]
        rows.append(
            (
                run["run"],
                *(_value(run["axes"].get(axis)) for axis in axes),
                run["status"] or "not trained",
                "" if run["last_epoch"] is None else str(run["last_epoch"]),
                "" if seconds is None else duration(seconds),
            )
        )
    lines += ["", *(f"  {line}" for line in columns(rows))]
    return lines + _text_of_use(found["used"])


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _text_of_use(found: Mapping[str, list[str]]) -> list[str]:
    lines = [""]
    for kind, names in found.items():
        shown = names if kind != "runs" else names[:4] + (["..."] if len(names) > 4 else [])
        said = ", ".join(shown) if names else "none"
        label = "started runs" if kind == "runs" else kind
        lines += wrapped(f"  {label}: {said}", indent=4)
    return lines
