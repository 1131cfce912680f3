"""How often each predicate is wrong: shares of holds, fails and undecided in worlds of known truth.

For each claim 200 draws of a world without the effect and 200 of a world with it (the claim's entry
names both, `refigure.claims.worlds`), of the size and with the noise of the tables that lie under
`results/<scale>/tables`. `holds` in a null world and `fails` in an effect world are errors; at most
5 % of each is the bar. With --write the shares go to `config/error_rates.json`, from where the
report takes them.

    python benchmarks/verdicts.py [--checkout FOLDER] [--scale demo] [--papers A B] [--write]
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

from refigure.claims.verdict import FAILS, HOLDS, UNDECIDED
from refigure.claims.worlds import BAR, DRAWS, KINDS, WRONG, shares
from refigure.errors import UserError
from refigure.files import read_parquet, write_json
from refigure.graph.config import Config
from refigure.graph.lookups import ERROR_RATES, Graph, function_of
from refigure.report.error_rates import key_of, read_rates
from refigure.stages import options_of


def measured(graph: Graph, paper: str, name: str, draws: int) -> dict | str:
    """The shares of a claim's two worlds, or why there are none."""
    claim = graph.claim(paper, name)
    if not claim.worlds:
        return "no worlds"
    files = graph.claim_files(paper, name)
    if absent := [path.name for path in files.values() if not path.is_file()]:
        return f"not built: {', '.join(absent)}"
    tables = {argument: read_parquet(path) for argument, path in files.items()}
    decide, options = function_of(claim.decide, f"{paper} {name}"), options_of(graph, claim)
    found: dict = {"of": key_of(graph, paper, name)}
    for kind in KINDS:
        world = claim.worlds.get(kind, {"none": "not written"})
        if "none" in world:
            found[kind] = world["none"]
            continue
        try:
            found[kind] = shares(decide, world, tables, options, draws)
            found["draws"] = draws
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{paper} {name}: worlds.{kind}: {error}") from error
    return found


def above_bar(found: dict | str) -> list[str]:
    """The errors of a claim that are more frequent than the bar, in words."""
    known = [kind for kind in KINDS if isinstance(found, dict) and isinstance(found[kind], dict)]
    return [
        f"{WRONG[kind]} in {found[kind][WRONG[kind]]:.1%} of {kind} draws"
        for kind in known
        if found[kind][WRONG[kind]] > BAR
    ]


def line(paper: str, name: str, found: dict | str) -> str:
    """A row of the table."""
    start = f"{paper:<26}{name:<6}"
    if isinstance(found, str):
        return f"{start}{found}"
    cells = []
    for kind in KINDS:
        share = found[kind]
        if isinstance(share, str):
            cells.append(f"{share:<26}")
        else:
            words = (HOLDS, FAILS, UNDECIDED)
            cells.append(" ".join(f"{share[word]:>7.1%}" for word in words) + "  ")
    return f"{start}{'  '.join(cells)}{'; '.join(above_bar(found))}".rstrip()


def main() -> int:
    """Print the table; 1 where a claim is above the bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkout", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--scale", default="demo")
    parser.add_argument("--papers", nargs="*")
    parser.add_argument("--claims", nargs="*")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    graph = Graph(Config(options.checkout), options.scale)
    path = options.checkout / ERROR_RATES
    print(f"{'':<32}{'null world':<28}{'effect world':<28}")
    print(f"{'paper':<26}{'claim':<6}" + 2 * "  holds   fails undec.      ")
    above = 0
    for paper in options.papers or graph.built:
        for name in graph.claims(paper):
            if options.claims and name not in options.claims:
                continue
            found = measured(graph, paper, name, options.draws)
            print(line(paper, name, found), flush=True)
            above += bool(above_bar(found))
            if options.write and isinstance(found, dict):  # read anew: papers may run side by side
                rates = read_rates(path)
                rates.setdefault(options.scale, {}).setdefault(paper, {})[name] = found
                write_json(rates, path)
    print(f"{above} claims above the bar of {BAR:.0%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
