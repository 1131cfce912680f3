"""Write docs/reference/commands.md from the commands themselves.

python docs/draw_commands.py
"""

import argparse
import textwrap
from pathlib import Path

from refigure.cli import _parser

STAGES = {"prepare", "train", "measure", "table", "draw", "claim", "verdicts", "index", "summary"}
HEAD = """# Commands

This page is written by `python docs/draw_commands.py`; a test compares it with the program. A
command that takes a target takes it as Snakemake does: a file such as
`results/demo/figures/three-regimes/fig1.pdf`, or a paper's name. `--scale` names one of
`config/scales/`.
"""


def about(name: str, one: argparse.ArgumentParser) -> list[str]:
    """The lines of one command: its usage, what it does, its options."""
    words = [
        f"{action.option_strings[-1]} {action.metavar or action.dest.upper()}"
        if action.option_strings and action.nargs != 0
        else (action.option_strings or [action.metavar or action.dest.upper()])[-1]
        for action in one._actions
        if action.dest not in ("help", "scale")
    ]
    text = " ".join(one.description.split())
    lines = [f"### {name}", "", *textwrap.wrap(f"{text[0].upper()}{text[1:]}.", 118), ""]
    lines += [f"- `{word}`: {told}" for word, told in zip(words, helps(one)) if told]
    lines = [
        part
        for line in lines
        for part in (textwrap.wrap(line, 118, subsequent_indent="  ") or [""])
    ]
    return [*lines, ""] if lines[-1] else lines


def helps(one: argparse.ArgumentParser) -> list[str]:
    """What each argument says of itself."""
    return [a.help or "" for a in one._actions if a.dest not in ("help", "scale")]


def page() -> str:
    """The whole page."""
    parser = _parser()
    [commands] = [a for a in parser._actions if isinstance(a.choices, dict)]
    own = {name: one for name, one in commands.choices.items() if name not in STAGES}
    stages = {name: one for name, one in commands.choices.items() if name in STAGES}
    lines = [HEAD, "## For people", ""]
    for name, one in own.items():
        lines += about(name, one)
    lines += [
        "## Stages of the graph",
        "",
        "Rules call these; a person may, to repeat one job by hand.",
        "",
    ]
    for name, one in stages.items():
        lines += about(name, one)
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    (Path(__file__).parent / "reference/commands.md").write_text(page(), encoding="utf-8")
