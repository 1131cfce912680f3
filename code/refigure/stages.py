"""The stages as functions of a graph and a name: they resolve names, open files, and call the rest.

The only place, with `cli`, that touches paths and devices. Each writes whole files or none.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from refigure.errors import UserError
from refigure.files import read_json, read_parquet, whole, write_json, write_parquet, write_text
from refigure.graph.catalogue import CATALOGUE, absent, import_entry
from refigure.graph.config import PUBLISHED
from refigure.graph.experiments import Run
from refigure.graph.lookups import Graph, function_of
from refigure.graph.packs import Pack
from refigure.graph.publications import Claim
from refigure.graph.spec import canonical


def prepare(graph: Graph, data: str) -> None:
    """Read the sources of a recipe and write its prepared arrays."""
    if data not in graph.recipes:
        raise UserError(f"data '{data}' is not in {graph.scale.file}")
    recipe = graph.recipes[data]
    module = import_entry("recipe", recipe["name"])
    found = graph.config.sources_of(recipe)
    raw = module.read(found, graph.paths.sources)
    keys = CATALOGUE["recipe"][recipe["name"]].keys
    prepared = module.prepare(raw, {key: recipe[key] for key in keys})
    module.save(prepared, graph.paths.data(data), recipe)


def train(graph: Graph, name: str, interval_s: float) -> None:
    """Train a pack, or adopt what other packs hold of it."""
    from refigure.training.jobs.devices import device_of
    from refigure.training.jobs.job import Job

    pack = graph.pack(name)
    refuse_unbuilt(pack, name)
    Job(
        pack,
        graph.training_code(pack),
        graph.paths.data(pack.data),
        graph.paths.pack(name),
        graph.paths.state(name),
        {run.id: graph.paths.pack(graph.pack_of[run.id]) for run in pack.parents},
        graph.stale_packs() + graph.stale_parts(),
        device_of(
            graph.config.user["device"],
            graph.config.root / "scratch",
            graph.resources("train", pack.runs[0].experiment)["gpu"],
        ),
        interval_s,
        checkpoints=graph.config.checkpoints,
        cache=graph.paths.sources,
    ).run()


def refuse_unbuilt(pack: Pack, name: str) -> None:
    """Refuse a pack whose specs name what no code does yet.

    Raises:
        UserError: names it.
    """
    missing = absent(pack.modules)
    if missing:
        words = ", ".join(missing)
        raise UserError(f"pack '{name}' ({pack.runs[0].label}): not there yet: {words}")


def prune(graph: Graph, delete: bool) -> str:
    """List the packs and parts that no configuration names, or remove them; returns a line."""
    stale = [*graph.stale_packs(), *{path.parent: None for path in graph.stale_parts()}]
    for path in stale:
        print(path)
        if delete:
            shutil.rmtree(path)
    done = "removed" if delete else "could be removed: `refigure prune --yes` does"
    return f"{len(stale)} folders {done}; {len(graph.packs)} packs are in the configuration"


def write_summary(graph: Graph) -> None:
    """Write the verdict table of all papers."""
    from refigure.report.summary import verdict_table

    papers = {slug: read_json(graph.paths.claims(slug))["claims"] for slug in graph.built}
    absent = [slug for slug in graph.config.papers if slug not in graph.built]
    text = verdict_table(graph.scale.name, papers, absent)
    write_text(text, graph.paths.results / "all")


def measure(graph: Graph, part: str) -> None:
    """Measure one part of a probe: every group of its points, one tidy table."""
    import pandas as pd

    from refigure.data.prepared import load as load_data
    from refigure.measures.members import groups
    from refigure.training.jobs.devices import device_of

    roles = graph.measured(part)
    probe = graph.probe_of_part[part]
    function = function_of(probe.measure, f"probe {probe.name}")
    gpus = graph.resources("measure")["gpu"]
    device = device_of(graph.config.user["device"], graph.config.root / "scratch", gpus)
    data = {
        argument: one and load_data(graph.paths.data(one), device)
        for argument, one in probe.data.items()
    }
    rows: list[dict[str, Any]] = []
    for group in groups(graph, probe, roles, device):
        for row in function(group, **data, **probe.options):
            rows.append({**group.key, **row})
        print(f"{probe.name}: {group.key}", flush=True)
    write_parquet(pd.DataFrame(rows), graph.paths.measure(part))


def table(graph: Graph, name: str) -> None:
    """Compute a table from the histories, arrays, probes and tables that it names."""
    import pandas as pd

    written = graph.table(name)
    arguments: dict[str, Any] = {
        role: read_histories(graph, runs) for role, runs in written.runs.items()
    }
    runs = [run for members in written.runs.values() for run in members]
    for array in written.arrays:
        arguments[array] = read_array(graph, runs, array)
    for argument, array in written.recorded.items():
        arguments[argument] = read_recorded(graph, runs, array)
    for role, members in written.grid.items():
        arguments[role] = grid_of(members)
    for argument, other in written.tables.items():
        arguments[argument] = read_parquet(graph.paths.table(other))
    for argument, probe in written.probes.items():
        frames = [read_parquet(graph.paths.measure(part)) for part in graph.probes[probe].parts]
        arguments[argument] = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    if written.data:
        from refigure.data.prepared import load

        for argument, data in written.data.items():
            arguments[argument] = data and load(graph.paths.data(data), "cpu")
    if written.compute is None:
        frame = arguments["grid" if written.grid else "runs"]
    else:
        function = function_of(written.compute, f"{written.file}: {name}")
        frame = function(**arguments, **written.options)
    write_parquet(frame, graph.paths.table(name))


def read_histories(graph: Graph, runs: list[Run]) -> Any:
    """The histories of some runs, with their axes."""
    import pandas as pd

    from refigure.tables.histories import histories

    paths = [graph.paths.pack(pack) / "history.parquet" for pack in graph.packs_of(runs)]
    frames = [read_parquet(path) for path in paths]
    rows = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    return histories(rows, {run.id: {"experiment": run.experiment, **run.columns} for run in runs})


def read_array(graph: Graph, runs: list[Run], name: str) -> Any:
    """One recorded array of some runs, long, with their axes."""
    from refigure.tables.histories import long_arrays

    frame = long_arrays(_arrays(graph, runs, name), [run.id for run in runs], name)
    for axis in dict.fromkeys(axis for run in runs for axis in run.columns):
        frame[axis] = frame["run"].map({run.id: run.columns.get(axis) for run in runs})
    frame["experiment"] = frame["run"].map({run.id: run.experiment for run in runs})
    return frame


def read_recorded(graph: Graph, runs: list[Run], name: str) -> Any:
    """One recorded array of some runs as arrays, a `Recorded`."""
    from refigure.tables.histories import recorded

    about = {run.id: {"experiment": run.experiment, **run.columns} for run in runs}
    return recorded(_arrays(graph, runs, name), about, name)


def _arrays(graph: Graph, runs: list[Run], name: str) -> dict[str, Any]:
    """`run|name` and `run|name|epoch` of some runs: nothing else of their packs' files is read."""
    from safetensors import SafetensorError, safe_open

    arrays: dict[str, Any] = {}
    for pack in graph.packs_of(runs):
        path = graph.paths.pack(pack) / "arrays.safetensors"
        wanted = [
            key
            for run in runs
            if graph.pack_of[run.id] == pack
            for key in (f"{run.id}|{name}", f"{run.id}|{name}|epoch")
        ]
        try:
            with safe_open(path, "np") as file:
                there = set(file.keys())
                arrays |= {key: file.get_tensor(key) for key in wanted if key in there}
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path}: not readable: {' '.join(str(error).split())}") from None
    return arrays


def grid_of(runs: list[Run]) -> Any:
    """The runs as rows before any is trained: run, experiment, axes, and each key of their specs.

    A key of the spec is a column by its path (`optimiser.wd`); lists are JSON. The axes stand
    first, under their own names.
    """
    import pandas as pd

    rows = []
    for run in runs:
        row = {"experiment": run.experiment, **run.columns, "run": run.id}
        for key in run.spec.__dataclass_fields__:
            value = getattr(run.spec, key)
            inner = value.items() if isinstance(value, Mapping) else [(None, value)]
            for name, one in inner:
                path = f"{key}.{name}" if name is not None else key
                plain = one is None or isinstance(one, (str, int, float))
                row.setdefault(path, one if plain else canonical(one))
        rows.append(row)
    return pd.DataFrame(rows)


def draw(graph: Graph, paper: str, name: str, log: Path) -> None:
    """Execute a figure's notebook into the log; its outputs are copied only on success.

    Raises:
        UserError: the notebook failed, or did not save the figure.
    """
    from papermill.exceptions import PapermillExecutionError

    from refigure.machine.notebooks import execute

    figure = graph.figure(paper, name)
    target = {suffix: graph.paths.figure(paper, name, suffix) for suffix in ("pdf", "png", "csv")}
    for path in (*target.values(), graph.paths.notebook(paper, name)):
        path.parent.mkdir(parents=True, exist_ok=True)
    parameters = {
        "tables": {key: str(path) for key, path in graph.figure_files(figure).items()},
        "target": str(target["pdf"].with_suffix("")),
        "settings": {
            **figure.parameters,
            "caption": figure.caption,
            "scale": graph.scale.name,
            "published": figure.drawn(),
        },
    }
    try:
        execute(graph.notebook_path(figure), log, parameters, graph.config.root)
    except PapermillExecutionError as error:
        raise UserError(
            f"notebook {figure.notebook}.ipynb failed for {paper}/{name}: {error.ename}:"
            f" {' '.join(str(error.evalue).split())}; executed copy: {log}"
        ) from None
    with whole(graph.paths.notebook(paper, name)) as temporary:
        shutil.copyfile(log, temporary)
    missing = [str(path) for path in target.values() if not path.is_file()]
    if missing:
        raise UserError(f"notebook {figure.notebook}.ipynb did not save {', '.join(missing)}")


def claim(graph: Graph, paper: str, name: str) -> None:
    """Decide a claim from its tables and write the verdict."""

    from refigure.claims import verdict
    from refigure.claims.published import judge, read_published

    written = graph.claim(paper, name)
    files = graph.claim_files(paper, name)
    published = graph.paths.results.name == PUBLISHED
    read = read_published if published else read_parquet
    frames = {key: read(path) for key, path in files.items()}
    options = options_of(graph, written)
    if published:
        options |= written.published.options
    decide = function_of(written.decide, f"claim {paper} {name}")
    finding = judge(decide, frames, options) if published else decide(**frames, **options)
    record = verdict.claim_record(name, written.statement, finding, list(written.figures))
    if published:
        record["source"] = written.published.source
    write_json(record, graph.paths.claim(paper, name), sort_keys=False)


def options_of(graph: Graph, claim: Claim) -> dict[str, Any]:
    """What a claim's predicate takes besides its tables: options, and thresholds at this scale."""
    from refigure.claims.verdict import threshold_at

    options = dict(claim.options)
    for key, value in options.pop("thresholds", {}).items():
        options[key] = threshold_at(value, scale_of(value, graph.scale.chain))
    return options


def scale_of(threshold: Any, chain: Sequence[str]) -> str:
    """The scale whose threshold holds: the nearest that it names, of a scale and those it extends.

    So a user's scale that extends `small` is judged as `small` is.
    """
    if not isinstance(threshold, Mapping):
        return chain[-1]
    return next((name for name in reversed(chain) if name in threshold), chain[-1])


def verdicts(graph: Graph, paper: str) -> None:
    """Join the verdicts of a paper."""

    claims = [read_claim(graph, paper, name) for name in graph.joined(paper)]
    published = graph.published(paper)
    for record in claims:
        if record["id"] in published:
            own = read_json(published[record["id"]])
            kept = ("verdict", "reason", "numbers", "threshold", "source")
            record["published"] = {key: own[key] for key in kept}
    record = {"paper": paper, "scale": graph.scale.name, "claims": claims}
    write_json(record, graph.paths.claims(paper), sort_keys=False)


def read_claim(graph: Graph, paper: str, name: str) -> dict[str, Any]:
    """The verdict of one claim."""
    return read_json(graph.paths.claim(paper, name))


def index(graph: Graph, experiment: str, path: Path) -> None:
    """The runs of an experiment: axes, pack, what became of each, and its cost."""
    import pandas as pd

    rows = []
    about: dict[str, Any] = {}
    for pack in graph.packs_of(graph.runs(experiment)):
        about |= read_json(graph.paths.pack(pack) / "run.json")["runs"]
    for run in graph.runs(experiment):
        found = about[run.id]
        kept = {key: found[key] for key in ("status", "last_epoch", "seconds", "device")}
        rows.append({"run": run.id, **run.columns, "pack": graph.pack_of[run.id], **kept})
    with whole(path) as temporary:
        pd.DataFrame(rows).to_csv(temporary, sep="\t", index=False)
