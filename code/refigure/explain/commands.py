"""The explaining commands on the command line: arguments, and what each prints."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from refigure.errors import UserError
from refigure.explain.target import Target, resolve
from refigure.files import read_json
from refigure.graph.config import Config
from refigure.graph.lookups import Graph, graph_of


def add(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands.

    Args:
        command: makes one, of name, function, text and the names of its arguments.
    """
    one = command("plan", _plan, "what would run for a target, for how long, on how much disk")
    one.add_argument("target", nargs="?", default="all", help="a file, a paper, or all")
    one.add_argument(
        "--device", help="count hours of this class of GPU, one of config/devices.yaml"
    )
    one.add_argument("--devices", type=int, default=1, metavar="N", help="that work side by side")
    one.add_argument("--budgets", action="store_true", help="what experiments cost and may cost")
    one.add_argument(
        "--no-timing", action="store_true", help="of past jobs only: time no step, import no torch"
    )
    _json(one)
    one = command("why", _why, "what of a target is stale, and because of what", "target")
    _json(one)
    one = command("show", _show, "a run or a pack; without a name the verdicts of a scale")
    one.add_argument("name", nargs="?", help="a pack, or the beginning of a run's id")
    _json(one)
    one = command("accept", _accept, "keep results over a refactoring of code", "target")
    one.add_argument("--because", required=True, metavar="TEXT", help="goes to accepted.log")
    _json(one)
    text = "claims and tables of two scales or result folders, side by side"
    _json(command("compare", _compare, text, "first", "second"))
    one = command("published", _published, "the numbers that papers print, with ours beside them")
    one.add_argument("paper", nargs="?", help="without it all papers")
    one.add_argument("--csv", action="store_true", help="as a CSV file, to standard output")
    _json(one)
    one = command("export", _export, "tables, figures and claims in one archive, to redraw from")
    one.add_argument("--to", type=Path, help="a .tar.gz; without it refigure-SCALE.tar.gz here")
    one.add_argument(
        "--network",
        metavar="RUN",
        help="instead a trained sparse recurrent network, by the id of its run, as a small .npz",
    )
    _json(one)


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")


def _target(options: argparse.Namespace) -> Target:
    return resolve(Config(Path(options.root)), options.target, options.scale)


def _graph(options: argparse.Namespace) -> Graph:
    config = Config(Path(options.root))
    return graph_of(config, options.scale or config.user["scale"])


def _print(options: argparse.Namespace, found: Any, text: Callable[[Any], str]) -> None:
    print(json.dumps(found, indent=1, default=str) if options.json else text(found))


def _plan(options: argparse.Namespace) -> None:
    from refigure.explain.plan import budgets, plan, text, text_of_budgets

    if options.budgets:
        _print(options, budgets(_target(options)), text_of_budgets)
    else:
        if options.devices < 1:
            raise UserError(f"--devices must be at least 1, got {options.devices}")
        found = plan(_target(options), not options.no_timing, options.device, options.devices)
        _print(options, found, text)


def _why(options: argparse.Namespace) -> None:
    from refigure.explain.why import text, why

    _print(options, why(_target(options)), text)


def _show(options: argparse.Namespace) -> None:
    from refigure.explain.show import show, text

    graph = _graph(options)
    if options.name:
        _print(options, show(graph, options.name), text)
        return
    path = graph.paths.results / "all"
    if not path.is_file():
        raise UserError(f"{path}: not there yet; `snakemake -c 2` builds it")
    if options.json:
        claims = [read_json(graph.paths.claims(paper)) for paper in graph.built]
        print(json.dumps(claims, indent=1))
        return
    print(path.read_text(encoding="utf-8"))
    print(f"report: {(graph.paths.results / 'report.html').resolve()}")


def _accept(options: argparse.Namespace) -> None:
    from refigure.explain.accept import accept, text

    _print(options, accept(_target(options), options.because), text)


def _compare(options: argparse.Namespace) -> None:
    from refigure.explain.compare import compare, text

    found = compare(Config(Path(options.root)), options.first, options.second)
    _print(options, found, text)


def _published(options: argparse.Namespace) -> None:
    from refigure.explain.published import as_csv, published, text

    graph = _graph(options)
    rows = published(graph, [options.paper] if options.paper else graph.built)
    _print(options, rows, as_csv if options.csv else text)


def _export(options: argparse.Namespace) -> None:
    from refigure.explain.export import export, text

    graph = _graph(options)
    if options.network is not None:
        from refigure.explain import networks

        path = options.to or Path(f"network-{options.network}.npz")
        return _print(options, networks.export_network(graph, options.network, path), networks.text)
    path = options.to or Path(f"refigure-{graph.scale.name}.tar.gz")
    _print(options, export(graph, path), text)
