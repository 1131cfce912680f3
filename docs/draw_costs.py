"""Write docs/costs.json, docs/costs.md, and what README.md and the papers' pages say of costs.

    python docs/draw_costs.py           # plans `paper` and `headline` anew: half a minute
    python docs/draw_costs.py --pages   # the pages alone, from docs/costs.json

In README.md and docs/papers/*.md, what stands between the comments `costs` and `/costs` is written.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refigure.explain.plan import plan
from refigure.explain.target import resolve
from refigure.explain.text import size
from refigure.graph.config import Config

ROOT = Path(__file__).resolve().parents[1]
KEPT, PAGE = ROOT / "docs/costs.json", ROOT / "docs/costs.md"
DEVICE = "h100"
SCALES = ("paper", "headline")
WIDTH = 118
CHEAPEST = 3
OPEN, CLOSE = "<!-- costs: written by docs/draw_costs.py -->", "<!-- /costs -->"

BY_NAME = {
    "pretrain-basin": (
        "figures/pretrain-basin/pb-f02.pdf",
        "the grid of torchvision's one ResNet-50 on CIFAR-10 and CIFAR-100",
    ),
}
"""Papers that train only what is asked for by name: such a target, and what it trains."""

BEFORE = {
    "three-regimes": (2425.5, 1541.5),
    "periodic-behavior": (229.4, 221.3),
    "where-large-lrs": (2574.4, 2238.3),
    "how-large-lrs": (2064.8, 1745.7),
    "sparse-gated-rnn": (60.8, 60.8),
    "bayesian-compression-nlp": (31.3, 31.3),
}
"""GPU-hours at `paper` by the same count: at commit 588ed2a, before measures, packs and stacks were
looked at; and with today's clocks, but all networks of a pack in one stack."""

ESTIMATES: dict[str, tuple[float, int, str]] = {
    "three-regimes": (170, 3, "20 TFLOP/s, one seed"),
    "periodic-behavior": (35, 1, "1 s an epoch of the ConvNet, one seed"),
    "where-large-lrs": (185, 3, "30 TFLOP/s in bf16 or TF32, one seed"),
    "how-large-lrs": (130, 3, "30 TFLOP/s in bf16 or TF32, one seed"),
    "power-laws": (1720, 1, "40 TFLOP/s"),
    "memory-split": (1725, 1, "40 TFLOP/s"),
    "pretrain-basin": (395, 2, "1,000 images a second, mixed precision, one target"),
    "contrastive-memorization": (35, 1, "mixed precision, 10,000 images a second"),
    "sparse-gated-rnn": (27, 3, "0.3 ms a cell, one seed"),
    "bayesian-compression-nlp": (16, 3, "a plain loop, one seed"),
}
"""Paper -> GPU-hours as its specification estimates them, how many times as many networks ours
has (seeds; pretrain-basin's targets), and what that assumes."""

WHY = {
    "periodic-behavior": "full-batch descent, 32 hours, is not in the estimate; and a pass with "
    "gradients after every epoch, which jumps and phase diagrams need, costs as much as the epoch, "
    "where the estimate takes half of one",
    "where-large-lrs": "float32 without TF32 at 20 TFLOP/s, not 30; passes for sharpness beside it",
    "how-large-lrs": "the same networks, the same reasons",
    "power-laws": "20 TFLOP/s in float32, not 40",
    "memory-split": "20 TFLOP/s in float32, not 40",
    "contrastive-memorization": "float32, not mixed precision; 20,480 views are asked, each epoch",
}
"""Why a ratio is beyond 1.5, either way."""


def planned() -> dict[str, Any]:
    """What is kept of the plans of both scales."""
    found = {}
    for scale in SCALES:
        one = plan(resolve(Config(ROOT), f"results/{scale}/all"), False, DEVICE)
        rows = []
        for row in one["papers"]:
            rows.append(
                {
                    "paper": row["paper"],
                    "networks": row["networks"],
                    "hours": round(row["seconds"] / 3600, 1),
                    "not_counted": row["unknown"],
                    "gigabytes": round(row["bytes"] / 1e9, 2),
                    "longest": round(row["longest"] / 3600, 1),
                    "figures": {
                        name: round(seconds / 3600, 1) for name, seconds in row["figures"].items()
                    },
                }
            )
        gpu = one["gpu"]
        disk = sum(value for kind, value in one["disk"].items() if kind != "free")
        found[scale] = {
            "device": gpu["device"],
            "hours": round(gpu["seconds"] / 3600, 1),
            "probes": round(gpu["measure"] / 3600, 1),
            "longest": round(one["longest"]["seconds"] / 3600, 1),
            "gigabytes": round(disk / 1e9, 1),
            "papers": rows,
        }
    found["by_name"] = {
        slug: _asked(f"results/paper/{target}") for slug, (target, _) in BY_NAME.items()
    }
    return found


def _asked(target: str) -> dict[str, Any]:
    """The cost of one target of `paper`."""
    one = plan(resolve(Config(ROOT), target), False, DEVICE)
    return {
        "networks": sum(row["networks"] for row in one["experiments"]),
        "hours": round(one["gpu"]["seconds"] / 3600, 1),
    }


# ---------------------------------------------------------------------- pages


def _hours(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _figures(row: Mapping[str, Any], most: int | None = None) -> str:
    """The figures of a paper with their GPU-hours, cheapest first."""
    shown = list(row["figures"].items())[:most]
    return ", ".join(f"{name} {_hours(hours)}" for name, hours in shown) or "-"


def _table(found: Mapping[str, Any]) -> list[str]:
    lines = [
        "| paper | networks | GPU-hours | disk | longest job, h | cheapest figures, GPU-hours |",
        "|---|---|---|---|---|---|",
    ]
    for row in found["papers"]:
        if not row["networks"]:
            lines.append(f"| {row['paper']} | 0 | - | - | - | - |")
            continue
        lines.append(
            f"| {row['paper']} | {row['networks']:,} |"
            f" {_hours(row['hours'])} | {size(1e9 * row['gigabytes'])} |"
            f" {_hours(row['longest'])} | {_figures(row, CHEAPEST)} |"
        )
    return lines


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _named(kept: Mapping[str, Any], slug: str) -> str:
    """What a paper costs that trains only what is asked for by name."""
    target, what = BY_NAME[slug]
    one = kept["by_name"][slug]
    return (
        f"`results/paper/{target}` trains {what}, {one['networks']:,} networks,"
        f" {_hours(one['hours'])} GPU-hours"
    )


def page(kept: Mapping[str, Any]) -> str:
    """docs/costs.md."""
    paper, headline = kept["paper"], kept["headline"]
    hours = {row["paper"]: row["hours"] for row in paper["papers"]}
    hours |= {slug: one["hours"] for slug, one in kept["by_name"].items()}
    lines = [
        "# What it costs",
        "",
        *_wrapped(
            f"GPU-hours by counted work (`refigure plan results/paper/all --device {DEVICE}`), of"
            f" an {paper['device']}: operations and launches of kernels of each architecture,"
            " over the rates of `config/devices.yaml`, in float32 without TF32. **The rates"
            " are assumed: no GPU was lent to us.** Where a job ran on such a"
            " device, its own times are taken, and"
            " `benchmarks/gpu.py` measures the rates. `docs/draw_costs.py` writes this page."
        ),
        "",
        "## `paper`",
        "",
        *_wrapped(
            f"{_hours(paper['hours'])} GPU-hours, {_hours(paper['probes'])} of them probes, and"
            f" {size(1e9 * paper['gigabytes'])} of disk. A network that several papers read counts"
            " for each of them in the table, and once in the sum. pretrain-basin trains only"
            " experiments that are asked for by name, and they are not in the sum:"
            f" {_named(kept, 'pretrain-basin')}. The small networks of the synthetic task of"
            " where-large-lrs train on a CPU and are not in the hours."
        ),
        "",
        *_table(paper),
        "",
        *_wrapped(
            "A job is given 24 hours, and packs are cut so that none takes more than 20"
            " (`tests/test_headline.py`), but for single WideResNets of k = 320, 20.8 hours, and"
            " k = 453, 41.6. The latter outlast their job: ask for more `runtime`, or start again,"
            " and they go on from their state."
        ),
        "",
        "## Every figure",
        "",
        *_wrapped(
            "GPU-hours of all that a figure at `paper` trains when it is asked for alone, with what"
            " its networks start from; figures share networks, so they do not add up. One that is"
            " not listed trains nothing on a GPU."
        ),
        "",
        *[
            line
            for row in paper["papers"]
            if row["figures"]
            for line in _wrapped(f"- **{row['paper']}**: {_figures(row)}", "  ")
        ],
        "",
        "## `headline`",
        "",
        f"{_hours(headline['hours'])} GPU-hours: [what one GPU can show](how-to/one-gpu.md).",
        "",
        *_table(headline),
        "",
        "## Against the specifications",
        "",
        *_wrapped(
            "Each specification estimates what its paper costs, some of them for one seed or, as"
            " pretrain-basin's 370 to 420, one target. The ratio is of ours, divided by our seeds"
            " or targets where theirs is one, to that."
        ),
        "",
        "| paper | estimate | it assumes | ours | seeds or targets | ratio |",
        "|---|---|---|---|---|---|",
    ]
    beyond = []
    for slug, (estimate, seeds, assumed) in ESTIMATES.items():
        ratio = hours[slug] / seeds / estimate
        lines.append(
            f"| {slug} | {estimate:,.0f} | {assumed} | {_hours(hours[slug])} | {seeds} |"
            f" {ratio:.1f} |"
        )
        if not 1 / 1.55 <= ratio <= 1.55:
            beyond += _wrapped(f"- **{slug}**: {WHY[slug]}.", "  ")
    lines += ["", "Where it is beyond 1.5:", "", *beyond, "", "## What was wasted", ""]
    lines += _wrapped(
        "The same count before and after. First the clocks: passes with gradients only as often as"
        " a figure reads them (every 2 epochs of 300, every 5 of 1,000; none while a network near"
        " the border converges). Then stacks: by the assumed rates, wide networks are slower as"
        " grouped convolutions than one after another, so `paper` trains them so (`stack: 1` in its"
        " scale). That half of the saving rests on rates that nobody has measured. A clock or a"
        " stack changes no network's id."
    )
    lines += ["", "| paper | before | clocks | clocks and stacks |", "|---|---|---|---|"]
    for slug, (before, clocks) in BEFORE.items():
        lines.append(f"| {slug} | {_hours(before)} | {_hours(clocks)} | {_hours(hours[slug])} |")
    return "\n".join(lines) + "\n"


def readme(kept: Mapping[str, Any]) -> str:
    """What stands in README.md."""
    here = {row["paper"]: row for row in kept["headline"]["papers"]}
    lines = ["| paper | `paper`, GPU-hours | `headline`, GPU-hours |", "|---|---|---|"]
    for row in kept["paper"]["papers"]:
        own = here[row["paper"]]
        there, few = (_hours(one["hours"]) if one["networks"] else "-" for one in (row, own))
        lines.append(f"| [{row['paper']}](docs/papers/{row['paper']}.md) | {there} | {few} |")
    paper, headline = kept["paper"], kept["headline"]
    lines.append(f"| all | {_hours(paper['hours'])} | {_hours(headline['hours'])} |")
    lines += [
        "",
        f"Of an {paper['device']}, by counted work at assumed rates, each network once in the sum:",
        "[what it costs](docs/costs.md).",
    ]
    return "\n".join(lines)


def of_paper(kept: Mapping[str, Any], slug: str) -> str:
    """What stands on a paper's page."""
    row, own = (
        next(row for row in kept[scale]["papers"] if row["paper"] == slug) for scale in SCALES
    )
    few = f"`headline` {_hours(own['hours'])}" if own["networks"] else "`headline` trains none"
    if not row["networks"]:
        return "\n".join(
            _wrapped(
                f"**What `paper` costs**: its experiments are trained by name only;"
                f" {_named(kept, slug)}. {few}. By counted work at assumed rates:"
                " [costs](../costs.md)."
            )
        )
    return "\n".join(
        _wrapped(
            f"**What `paper` costs**: {_hours(row['hours'])} GPU-hours of an"
            f" {kept['paper']['device']} for {row['networks']:,} networks; cheapest figures:"
            f" {_figures(row, CHEAPEST)}. {few}. By counted work at assumed rates:"
            " [costs](../costs.md)."
        )
    )


def written(kept: Mapping[str, Any]) -> dict[Path, str]:
    """Page -> its text, of every page that says what something costs."""
    found = {PAGE: page(kept)}
    parts = {ROOT / "README.md": readme(kept)}
    for row in kept["paper"]["papers"]:
        parts[ROOT / f"docs/papers/{row['paper']}.md"] = of_paper(kept, row["paper"])
    between = re.compile(f"{re.escape(OPEN)}.*?{re.escape(CLOSE)}", re.DOTALL)
    for path, part in parts.items():
        text = path.read_text(encoding="utf-8")
        found[path] = between.sub(lambda _, part=part: f"{OPEN}\n{part}\n{CLOSE}", text)
    return found


def main() -> None:
    """Write them."""
    if "--pages" not in sys.argv[1:]:
        KEPT.write_text(json.dumps(planned(), indent=1) + "\n", encoding="utf-8")
    for path, text in written(json.loads(KEPT.read_text(encoding="utf-8"))).items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
