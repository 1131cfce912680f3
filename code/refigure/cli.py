"""`refigure`: the stages of the graph by their names, as the rules call them and as people can."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from refigure import __version__
from refigure.errors import UserError
from refigure.explain import commands as explaining
from refigure.graph.config import Config
from refigure.graph.lookups import Graph, graph_of
from refigure.graph.reading import suggest


def main(arguments: list[str] | None = None) -> int:
    """Run one command; a mistake of the user is one line on stderr and status 1."""
    options = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that the terminal cannot show is no error
            stream.reconfigure(errors="backslashreplace")
    try:
        status = options.run(options) or 0
        sys.stdout.flush()
        return status
    except UserError as error:
        return _refused(str(error))
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "refigure":
            raise
        return _refused(f"module '{error.name}' is not installed; `make setup` installs it")
    except MemoryError:
        return _refused("out of memory")
    except BrokenPipeError:
        return _refused("")
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        return _refused(f"{error.filename}: {reason}" if error.filename else reason)
    except KeyboardInterrupt:
        _refused("interrupted")
        return 130


def _refused(line: str) -> int:
    if line:
        print(f"refigure: {' '.join(line.split())}", file=sys.stderr)
    # What is left in the buffer cannot be written; the interpreter would try, and complain.
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        return 1
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _graph(options: argparse.Namespace) -> Graph:
    config = Config(Path(options.root))
    return graph_of(config, options.scale or config.user["scale"])


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, with the nearest command or option, and no usage."""

    def error(self, message: str) -> NoReturn:
        options = [name for action in self._actions for name in action.option_strings]
        if found := re.search(r"argument COMMAND: invalid choice: '(.*?)'", message):
            [commands] = [act for act in self._actions if isinstance(act.choices, dict)]
            near = suggest(found[1], commands.choices)
            message = f"unknown command '{found[1]}'{near}"
        elif found := re.match(r"unrecognized arguments: (-\S+)", message):
            message = f"unknown option '{found[1]}'{suggest(found[1], options)}"
        elif message == "the following arguments are required: COMMAND":
            message = "a command is missing; `refigure --help` lists them"
        self.exit(2, f"refigure: {message}\n")


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


_seconds.__name__ = "positive number of seconds"  # argparse prints it


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="refigure", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument(
        "--root", default=os.environ.get("REFIGURE_ROOT", "."), help="folder of the checkout"
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run, text: str, *names: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text)
        for argument in names:
            one.add_argument(argument)
        one.add_argument("--scale", help="one of config/scales; the default is in config.yaml")
        one.set_defaults(run=run)
        return one

    command(
        "prepare", _stage("prepare", "data"), "read a source and write its prepared arrays", "data"
    )
    one = command("train", _train, "train a pack, or adopt what other packs hold of it", "pack")
    one.add_argument("--state-every", type=_seconds, default=60.0, help="seconds between states")
    command("measure", _stage("measure", "part"), "measure one part of a probe", "part")
    command("table", _stage("table", "table"), "compute a table", "table")
    one = command("draw", _draw, "execute the notebooks of a paper or of one figure", "paper")
    one.add_argument("figure", nargs="?", help="without it all of the paper")
    one.add_argument("--log", type=Path, help="where the notebook is executed; under logs/ if not")
    command("claim", _stage("claim", "paper", "claim"), "decide one claim", "paper", "claim")
    command("verdicts", _stage("verdicts", "paper"), "join the verdicts of a paper", "paper")
    one = command(
        "index", _stage("index", "experiment", "to"), "list the runs of an experiment", "experiment"
    )
    one.add_argument("--to", type=Path, required=True, help="a .tsv file")
    command("summary", _stage("write_summary"), "write the verdict table of all papers")
    report = command("report", _report, "write report.html")
    report.add_argument(
        "--so-far", action="store_true", help="of the papers whose verdicts are there"
    )
    one = command("basin", _basin, "say whether your own checkpoints share a basin")
    one.add_argument("table", nargs="?", default="own_basin", help="the default is own_basin")
    one.add_argument("--cores", type=int, default=1, help="of Snakemake; the default is 1")
    one = command("prune", _prune, "list packs that no configuration names, or remove them")
    one.add_argument("--yes", action="store_true", help="remove them")
    explaining.add(command)
    one = command(
        "pin", _pin, "write the checksum of a source's file to config/local.yaml", "source"
    )
    one.add_argument("--again", action="store_true", help="replace it, after a wanted change")
    return parser


def _stage(name: str, *arguments: str) -> Callable[[argparse.Namespace], None]:
    """The command that runs a stage with some of its arguments; torch is imported only then."""

    def run(options: argparse.Namespace) -> None:
        from refigure import stages

        getattr(stages, name)(_graph(options), *(getattr(options, key) for key in arguments))

    return run


def _train(options: argparse.Namespace) -> int:
    from refigure import stages
    from refigure.training.jobs.states import Interrupted

    # Ctrl-C ends a job as a queue does: with a state that the next start goes on from.
    signal.signal(signal.SIGINT, lambda *_: signal.raise_signal(signal.SIGTERM))
    try:
        stages.train(_graph(options), options.pack, options.state_every)
    except Interrupted as told:
        print(told)
        return 143
    return 0


def _draw(options: argparse.Namespace) -> None:
    from refigure import stages

    graph = _graph(options)
    for figure in [options.figure] if options.figure else graph.figures(options.paper):
        log = options.log or graph.paths.log(options.paper, figure)
        log.parent.mkdir(parents=True, exist_ok=True)
        stages.draw(graph, options.paper, figure, log)


def _report(options: argparse.Namespace) -> None:
    from refigure.report.page import write_report

    write_report(_graph(options), options.so_far)


def _basin(options: argparse.Namespace) -> None:
    from refigure.report.basin import basin

    print(basin(_graph(options), options.table, options.cores))


def _prune(options: argparse.Namespace) -> None:
    from refigure import stages

    print(stages.prune(_graph(options), options.yes))


def _pin(options: argparse.Namespace) -> None:
    from refigure.explain.pin import pin

    print(pin(Path(options.root), options.source, options.again))


if __name__ == "__main__":
    sys.exit(main())
