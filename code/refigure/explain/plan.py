"""`refigure plan TARGET`: what would run, for how long on this machine, and the disk it needs."""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from refigure.explain.holdings import Holdings
from refigure.explain.sizes import shape_of
from refigure.explain.staleness import Staleness
from refigure.explain.target import Target
from refigure.explain.text import columns, counted, shortened, size, wrapped
from refigure.explain.timing import Times
from refigure.graph.steps import Step, Steps
from refigure.machine.progress import duration

JOB_S = {"prepare": 3.0, "train": 1.5, "measure": 1.5, "table": 0.5, "figure": 3.0, "claim": 0.5}
JOB_S |= {"verdicts": 0.5, "summary": 0.5, "report": 3.0, "index": 0.5}
"""Core-seconds of a job besides what it is for, as a fork of the warm process."""
OTHER_BYTES = {"table": 40e3, "figure": 400e3, "measure": 40e3, "claim": 4e3}


def plan(
    target: Target, may_time: bool = True, device: str | None = None, devices: int = 1
) -> dict[str, Any]:
    """What a target would run.

    Args:
        may_time: whether an architecture that never ran here may be timed now, for seconds.
        device: of `config/devices.yaml`, whose hours are counted for jobs that ask for a GPU.
        devices: how many of them work side by side.

    Returns:
        `jobs`: rule -> `{all, run}`; `experiments`: a row each; `seconds`: of `train`, `measure`
        and `other` jobs on this machine; `gpu`: None, or of the jobs whose work is counted
        `seconds`, `train`, `measure`, the `device`'s name and the `days` that so many `devices`
        take at least; `papers`: what each costs, with its cheapest figures; `optional`: the
        experiments that are trained only when they are asked for by name, `trained` here or
        `left`; `longest`: the pack that takes longest; `disk`: bytes by kind, and what is free;
        `assumptions`: sentences.
    """
    graph = target.graph
    staleness = Staleness(graph, target.files)
    holdings = Holdings(graph)
    times = Times(graph, holdings, may_time, device, bool(shutil.which("nvidia-smi")))
    jobs: dict[str, dict[str, int]] = defaultdict(lambda: {"all": 0, "run": 0})
    for step in staleness.chain.values():
        jobs[step.rule]["all"] += 1
        jobs[step.rule]["run"] += staleness.stale(step.label)
    running = [step for step in staleness.chain.values() if staleness.stale(step.label)]
    packs = [step for step in staleness.chain.values() if step.rule == "train"]
    rows: dict[str, dict[str, Any]] = {}
    longest: dict[str, Any] = {}
    disk = Counter()
    for step in packs:
        one = _pack(step, staleness, holdings, times)
        row = rows.setdefault(one["experiment"], _row(one["experiment"]))
        for key in ("networks", "done", "adopted", "train", "seconds", "bytes", "unknown"):
            row[key] += one[key]
        row["packs"] += 1
        row["packs_run"] += one["runs"]
        disk["packs"] += one["bytes"]
        row["gpu"] = row["gpu"] or one["gpu"]
        if one["seconds"] > longest.get("seconds", 0):
            asks = graph.resources("train", one["experiment"])
            longest = {"pack": step.names[0], "seconds": one["seconds"], **asks}
            longest["counted"] = one["gpu"]
    measured, probed, unmeasured = _measures(running, staleness, times)
    other = sum(JOB_S[step.rule] for step in running)
    for step in running:
        disk["other"] += OTHER_BYTES.get(step.rule, 0.0)
        if step.rule == "prepare":
            shape = shape_of(graph, step.names[0])
            disk["data"] += shape.bytes if shape else 0
    train = sum(row["seconds"] for row in rows.values() if not row["gpu"])
    counted_s = sum(row["seconds"] for row in rows.values() if row["gpu"])
    gpu = None
    if counted_s or probed:
        total = counted_s + probed
        least = max(total / devices, longest.get("seconds", 0.0))
        gpu = {"device": times.device_class.name, "devices": devices, "days": least / 86400}
        gpu |= {"seconds": total, "train": counted_s, "measure": probed}
    assumptions = _assumptions(times, rows, unmeasured)  # before `_papers` asks again
    return {
        "target": target.target,
        "scale": graph.scale.name,
        "device": here(graph.config.user["device"]),
        "jobs": {rule: dict(count) for rule, count in jobs.items()},
        "experiments": list(rows.values()),
        "seconds": {
            "train": train,
            "measure": measured,
            "other": other,
            "total": train + measured + other,
        },
        "gpu": gpu,
        "papers": _papers(target, times) if gpu else [],
        "figures": _figures(target),
        "optional": _optional(target, rows),
        "longest": longest,
        "disk": {**disk, "free": shutil.disk_usage(graph.config.root).free},
        "assumptions": assumptions,
    }


def _figures(target: Target) -> list[dict[str, Any]]:
    """The figures among a target's files: what each draws, and what its jobs train."""
    steps, rows = Steps(target.graph), []
    for file in target.files:
        step = steps.writing(file)
        if step.rule != "figure":
            continue
        figure = target.graph.figure(*step.names)
        own, parents = target.graph.drawn(figure)
        packs = [one.names[0] for one in steps.chain([file]).values() if one.rule == "train"]
        trained = sum(len(target.graph.pack(name).runs) for name in packs)
        row = {"figure": figure.name, "draws": len(own), "start": len(parents), "trains": trained}
        rows.append({**row, "trains_more": figure.trains_more})
    return rows


def _optional(target: Target, rows: Mapping[str, Any]) -> dict[str, list[str]]:
    """The optional experiments of a target's scale: those that its jobs train, and all others."""
    names = [name for name, one in target.graph.experiments.items() if one.optional]
    names = [name for name in names if target.graph.runs(name)]
    return {
        "trained": [name for name in names if name in rows],
        "left": [name for name in names if name not in rows],
    }


def _row(experiment: str) -> dict[str, Any]:
    counts = dict.fromkeys(
        ("packs", "packs_run", "networks", "done", "adopted", "train", "unknown"), 0
    )
    return {"experiment": experiment, **counts, "seconds": 0.0, "bytes": 0.0, "gpu": False}


def _pack(step: Step, staleness: Staleness, holdings: Holdings, times: Times) -> dict[str, Any]:
    pack = staleness.graph.pack(step.names[0])
    runs = staleness.stale(step.label)
    adopted = holdings.adoptable(pack) if runs else set()
    there = bool(holdings.of_pack(pack.name)) and not runs
    left = [run for run in pack.runs if runs and run.id not in adopted]
    seconds = [times.seconds(run, pack) for run in left]
    counted_work = any(times.counts(run) for run in pack.runs[:1])
    sizes = [times.bytes(run, pack) for run in (pack.runs if runs else ())]
    return {
        "experiment": pack.runs[0].experiment,
        "networks": len(pack.runs),
        "runs": int(runs),
        "gpu": counted_work,
        "done": len(pack.runs) if there else 0,
        "adopted": len(adopted),
        "train": len(left),
        "seconds": sum(one for one in seconds if one is not None),
        "unknown": sum(one is None for one in seconds),
        "bytes": sum(one for one in sizes if one is not None),
    }


def _measures(
    running: Sequence[Step], staleness: Staleness, times: Times
) -> tuple[float, float, list[str]]:
    """Seconds of the probes that would run, here and on the class of devices that is counted for,
    and the probes of which nothing is known: here, those that were never measured."""
    total, counted_s, unknown = 0.0, 0.0, []
    asks = bool(staleness.graph.resources("measure")["gpu"])
    for step in running:
        if step.rule != "measure":
            continue
        record = staleness.records.of(step.outputs[0])
        probe = staleness.graph.probe_of_part[step.names[0]]
        if record and record["starttime"] and record["endtime"]:
            total += max(record["endtime"] - record["starttime"] - JOB_S["measure"], 0.0)
            continue
        found = None
        if asks and times.of_devices:
            from refigure.explain.work import probe_seconds

            roles = staleness.graph.measured(step.names[0])
            members = [run for members in roles.values() for run, _ in members]
            found = probe_seconds(staleness.graph, members, probe.options, times.device_class)
        if found is None:
            unknown.append(probe.name)
        else:
            counted_s += found
    return total, counted_s, list(dict.fromkeys(unknown))


def _papers(target: Target, times: Times) -> list[dict[str, Any]]:
    """The papers among a target's files: what the networks of each cost, what they leave on disk,
    the pack that takes longest, and the cheapest figures.

    A network that serves several papers counts for each. Networks whose cost nobody knows count
    for nothing and are numbered.
    """
    graph = target.graph
    slugs = [
        slug
        for slug in graph.built
        if any(f"/figures/{slug}/" in file or file.endswith("/all") for file in target.files)
    ]
    known: dict[str, float | None] = {}

    def cost(run: Any) -> float | None:
        if run.id not in known:
            known[run.id] = times.seconds(run, graph.pack(graph.pack_of[run.id]))
        return known[run.id]

    rows = []
    for slug in slugs:
        figures, runs = {}, {}
        for figure in graph.figures(slug).values():
            if figure.optional or graph.left_out(figure):
                continue
            own, parents = graph.drawn(figure)
            behind = {**own, **parents}
            runs |= behind
            costs = [cost(run) for run in behind.values()]
            if behind and None not in costs:
                figures[figure.name] = sum(costs)
        for name in graph.joined(slug):
            for table in graph.claim(slug, name).tables.values():
                runs |= graph.selected(table)
        costs = [cost(run) for run in runs.values()]
        packs = [graph.pack(name) for name in graph.packs_of(list(runs.values()))]
        takes = [sum(cost(run) or 0.0 for run in pack.runs) for pack in packs]
        sizes = [times.bytes(run, graph.pack(graph.pack_of[run.id])) for run in runs.values()]
        rows.append(
            {
                "paper": slug,
                "longest": max(takes, default=0.0),
                "bytes": sum(one for one in sizes if one is not None),
                "networks": len(runs),
                "seconds": sum(one for one in costs if one is not None),
                "unknown": sum(one is None for one in costs),
                "figures": dict(sorted(figures.items(), key=lambda one: one[1])),
            }
        )
    return rows


def here(wanted: str) -> str:
    """What the hours are of, as far as it can be said without torch."""
    if wanted == "cpu" or (wanted == "auto" and not shutil.which("nvidia-smi")):
        return "one CPU core of this machine"
    return "the GPU of this machine"


def _assumptions(
    times: Times, rows: Mapping[str, Mapping[str, Any]], unmeasured: Sequence[str]
) -> list[str]:
    said = []
    if times.sources["past"]:
        said.append(
            f"{counted(times.sources['past'], 'network')} as long an epoch as their like took here,"
            " the median of past jobs"
        )
    if times.sources["counted"]:
        said.append(
            f"{counted(times.sources['counted'], 'network')} by counted operations at the rates of"
            f" config/devices.yaml for {times.device_class.key}, in float32 without TF32"
        )
    if times.sources["timed"]:
        said.append(
            f"{counted(times.sources['timed'], 'network')} by timing a few steps and measures of"
            " their architecture here: kept in scratch/timing.json"
        )
    if rows and any(row["train"] for row in rows.values()):
        said.append("every network trains to its last epoch, none stops or diverges early")
    said.append("a job costs besides what JOB_S of explain/plan.py says: 0.5 to 3 s to start")
    lost = [row["experiment"] for row in rows.values() if row["unknown"]]
    if lost:
        said.append(f"not in the sums, since code or data are not there: {', '.join(lost)}")
    if unmeasured:
        said.append(
            f"not in the sums, since they were never measured here: {', '.join(unmeasured)}"
        )
    return said


# ---------------------------------------------------------------------- budgets


def budgets(target: Target) -> list[dict[str, Any]]:
    """What each experiment of a target's scale cost here, against the `budget` that it states.

    Returns:
        A row an experiment: `budget` and `measured` in core-seconds (None where not all of its
        networks are trained here).
    """
    graph = target.graph
    holdings = Holdings(graph)
    rows = []
    for name, experiment in graph.experiments.items():
        packs = [pack for pack in graph.packs.values() if pack.runs[0].experiment == name]
        if not packs:
            continue
        measured: float | None = 0.0
        for pack in packs:
            about = holdings.of_pack(pack.name)
            if not about:
                measured = None
                break
            measured += JOB_S["train"] + sum(
                one.get("core_seconds", one["seconds"]) for one in about.values()
            )
        rows.append({"experiment": name, "budget": experiment.budget, "measured": measured})
    return rows


def text_of_budgets(rows: Sequence[Mapping[str, Any]]) -> str:
    """The budgets in columns, with their sums."""
    known = [row["measured"] for row in rows if row["measured"] is not None]
    table = [("experiment", "budget", "measured", "")]
    for row in rows:
        there = row["measured"] is not None
        over = there and row["measured"] > 1.5 * row["budget"]
        table.append(
            (
                row["experiment"],
                f"{row['budget']:.0f} s",
                f"{row['measured']:.0f} s" if there else "-",
                "over" if over else "",
            )
        )
    total = sum(row["budget"] for row in rows)
    table.append(("sum", f"{total:.0f} s", f"{sum(known):.0f} s", ""))
    return "\n".join(columns(table, right=(1, 2)))


# ---------------------------------------------------------------------- as text


def _time(row: Mapping[str, Any]) -> str:
    if row["unknown"]:
        return f"{duration(row['seconds'])}+?" if row["seconds"] else "?"
    return duration(row["seconds"]) if row["train"] else "-"


def _text_of_optional(optional: Mapping[str, Sequence[str]]) -> list[str]:
    lines = []
    if optional["trained"]:
        names = ", ".join(optional["trained"])
        lines += wrapped(f"  optional experiments that this target trains: {names}", indent=4)
    if optional["left"]:
        count = counted(len(optional["left"]), "optional experiment")
        first, *_ = optional["left"]
        said = f"  {count} of this scale left out, trained only when asked for by name"
        lines += wrapped(f"{said} (experiments/{first}.tsv)", indent=4)
    return lines


def _text_of_gpu(found: Mapping[str, Any]) -> list[str]:
    """GPU-hours in all and by paper, where work is counted."""
    gpu = found["gpu"]
    if not gpu:
        return []
    hours = gpu["seconds"] / 3600
    many = f"{counted(gpu['devices'], 'device')}: at least {gpu['days']:.1f} days"
    lines = [f"  GPU-hours on {gpu['device']}: {hours:,.0f} ({many})"]
    lines += wrapped(
        f"    training {gpu['train'] / 3600:,.0f}, probes {gpu['measure'] / 3600:,.0f}", indent=4
    )
    if found["papers"]:
        rows = [("paper", "nets", "GPU-hours", "cheapest figures")]
        for row in found["papers"]:
            said = ""
            for name, seconds in list(row["figures"].items())[:3]:
                more = f"{', ' if said else ''}{name} {seconds / 3600:.1f}"
                said += more if len(said + more) <= 32 else ""
            unknown = "+?" if row["unknown"] else ""
            rows.append(
                (
                    row["paper"],
                    f"{row['networks']:,}",
                    f"{row['seconds'] / 3600:,.1f}{unknown}",
                    said,
                )
            )
        lines += ["", *(f"  {line}" for line in columns(rows, right=(1, 2))), ""]
    return lines


def text(found: Mapping[str, Any]) -> str:
    """A plan in 80 columns."""
    jobs, seconds = found["jobs"], found["seconds"]
    going = [
        f"{count['run']} of {count['all']} {rule}" for rule, count in jobs.items() if count["run"]
    ]
    lines = [f"{found['target']} (scale {found['scale']})"]
    if len(found["figures"]) == 1:
        [one] = found["figures"]
        said = f"  networks: {one['draws']:,} behind what it draws"
        said += f", {one['start']:,} that these start from" if one["start"] else ""
        lines += wrapped(f"{said}; {one['trains']:,} in the packs of this target", indent=4)
        if one["trains_more"]:
            lines += wrapped(f"  drawn are fewer: {one['trains_more']}", indent=4)
    lines += _text_of_optional(found["optional"])
    if not going:
        return "\n".join([*lines, "  nothing to be done"])
    lines += wrapped(f"  jobs: {', '.join(going)}", indent=4)
    rows = [("experiment", "packs", "nets", "done", "adopt", "train", "time", "disk")]
    for row in found["experiments"]:
        rows.append(
            (
                shortened(row["experiment"], 26),
                str(row["packs"]),
                *(f"{row[key]:,}" for key in ("networks", "done", "adopted", "train")),
                _time(row),
                size(row["bytes"]) if row["bytes"] else "-",
            )
        )
    lines += ["", *(f"  {line}" for line in columns(rows, right=range(1, 8))), ""]
    lines += _text_of_gpu(found)
    lines.append(f"  time on {found['device']}: {duration(seconds['total'])}")
    lines += wrapped(
        f"    training {duration(seconds['train'])}, probes {duration(seconds['measure'])},"
        f" all else {duration(seconds['other'])}",
        indent=4,
    )
    longest = found["longest"]
    if longest:
        limit = longest["runtime"] * 60
        asks = f"it asks for {'a GPU and ' if longest['gpu'] else ''}{duration(limit)}"
        on_gpu = longest["counted"] or "GPU" in found["device"]
        if longest["seconds"] > limit and (not longest["gpu"] or on_gpu):
            asks += ": TOO LITTLE"
        lines += wrapped(
            f"  longest pack: {longest['pack']}, {duration(longest['seconds'])} ({asks})", indent=4
        )
    disk = found["disk"]
    needed = sum(value for kind, value in disk.items() if kind != "free")
    short = ": NOT ENOUGH" if needed > disk["free"] else ""
    lines.append(f"  disk: {size(needed)}, of {size(disk['free'])} free{short}")
    lines.append("  assumed:")
    for one in found["assumptions"]:
        lines += wrapped(f"  - {one}", indent=4)
    return "\n".join(lines)
