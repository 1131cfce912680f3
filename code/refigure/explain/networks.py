"""`refigure export --network`: a trained sparse recurrent network as one small file.

What its weights came to: group variables multiplied in, what is dropped taken out, constant gates
as constants. It runs with numpy alone:

    from refigure.models.rnn.compaction import Compact
    network, words = Compact.load("network.npz")
    logits = network.outputs(tokens)        # rows of the vocabulary, of which `words` has the names
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from refigure.errors import UserError
from refigure.explain.text import size
from refigure.graph.experiments import Run
from refigure.graph.lookups import Graph
from refigure.graph.selections import Probe
from refigure.graph.spec import canonical

POINT = "end"


def export_network(graph: Graph, name: str, path: Path) -> dict[str, Any]:
    """Write the network of a run at its last epoch.

    Args:
        name: of the run: its id as in `results/<scale>/experiments/*.tsv`, or the start of it.
        path: of the file, a `.npz`.

    Returns:
        `network`, its label; `file`, `bytes`, `bytes_whole` (of all weights, in float32) and
        `compression`, the ratio of weights by the strict count.

    Raises:
        UserError: no such run, or not of a recurrent network; it is not trained; the path ends
            otherwise.
    """
    if path.suffix != ".npz":
        raise UserError(f"--to {path}: the network's name must end in .npz")
    if not path.parent.is_dir():
        raise UserError(f"--to {path}: no folder {path.parent}")
    run = _run(graph, name)
    if not run.spec.model["name"].startswith("lstm_"):
        raise UserError(f"--network {name}: {run.label} is no recurrent network")
    pack = graph.paths.pack(graph.pack_of[run.id])
    if not (pack / "points.safetensors").is_file():
        raise UserError(
            f"--network {name}: {run.label} is not trained yet;"
            f" `snakemake -c 2 -- results/{graph.scale.name}/experiments/{run.experiment}.tsv`"
        )
    import torch

    from refigure.measures.members import groups
    from refigure.models.rnn import sparsity
    from refigure.models.rnn.compaction import compacted
    from refigure.models.rnn.lstm import folded
    from refigure.models.rnn.variational import clipped

    experiment = graph.experiments[run.experiment]
    point = canonical(experiment.point_of(POINT, run.spec.epochs, f"point '{POINT}'"))
    roles = {"net": [(run, point)]}
    probe = Probe("export", "", roles, [], [], {}, {}, {})
    found = next(groups(graph, probe, roles, torch.device("cpu")), None)
    if found is None:
        raise UserError(f"--network {name}: {run.label} has no last epoch: it diverged")
    (member,) = found.roles["net"]
    alive = sparsity.masks(member.model, member.parameters)
    strict = sparsity.structure(member.model, alive, strict=True)
    compact = compacted(member.model, folded(clipped(member.parameters)), strict)
    compact.save(path, member.task.data.words)
    weights = sum(alive[name][0].numel() for name in sparsity.WEIGHTS.values() if name in alive)
    return {
        "network": run.label,
        "file": str(path),
        "bytes": path.stat().st_size,
        "bytes_whole": 4 * weights,
        "compression": float(sparsity.counts(member.model, strict)["C"]),
    }


def text(found: dict[str, Any]) -> str:
    """What was written, for a reader."""
    return (
        f"{found['network']}\n"
        f"  {found['file']}: {size(found['bytes'])}, of {size(found['bytes_whole'])} whole;"
        f" {found['compression']:.4g} times fewer weights\n"
        "  to run it: Compact.load(PATH) of refigure.models.rnn.compaction"
    )


def _run(graph: Graph, name: str) -> Run:
    runs = {run.id: run for pack in graph.packs.values() for run in pack.runs}
    found = [run for key, run in runs.items() if name and key.startswith(name)]
    if len(found) != 1:
        many = f"{len(found)} runs begin so" if found else "no run of this scale begins so"
        raise UserError(f"--network {name}: {many}; results/*/experiments/*.tsv have their ids")
    return found[0]
