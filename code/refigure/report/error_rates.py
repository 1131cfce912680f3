"""The measured error rates of predicates, as `benchmarks/verdicts.py` wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refigure.claims.verdict import FAILS, HOLDS
from refigure.files import read_json
from refigure.graph.lookups import VERDICT, Graph, module_of
from refigure.graph.provenance import Provenance


def read_rates(path: Path) -> dict[str, Any]:
    """Scale -> paper -> claim -> the shares of its two worlds; nothing where none was measured.

    Args:
        path: of `ERROR_RATES` in a checkout.
    """
    return read_json(path) if path.is_file() else {}


def key_of(graph: Graph, paper: str, name: str) -> str:
    """What the shares of a claim were measured for: its predicate, options and worlds."""
    claim = graph.claim(paper, name)
    configured = {"options": dict(claim.options), "worlds": dict(claim.worlds)}
    return str(Provenance((module_of(claim.decide), VERDICT), configured))


def said(graph: Graph, rates: Mapping[str, Any], paper: str, name: str) -> str:
    """A claim's error rates in a sentence without its full stop; empty where none were measured."""
    found = rates.get(graph.scale.name, {}).get(paper, {}).get(name)
    if not found:
        return ""
    text = sentence(found)
    if found["of"] != key_of(graph, paper, name):
        text += " (measured for an earlier form of this predicate)"
    return text


def sentence(found: Mapping[str, Any]) -> str:
    """How often a predicate is wrong, and how often it sees an effect that is there.

    Args:
        found: of a claim: for each kind of world the shares of its verdicts, or why there is no
            such world; draws, of a world.
    """
    null, effect = found["null"], found["effect"]
    if isinstance(null, str) and null == effect:
        return f"no worlds are drawn: {null}"
    words = []
    if isinstance(null, str):
        words.append(f"no world without the effect is drawn: {null}")
    else:
        words.append(
            f"of {found['draws']} worlds without the effect it holds in {percent(null[HOLDS])}"
        )
    if isinstance(effect, str):
        words.append(f"no world with it is drawn: {effect}")
    else:
        words.append(
            f"of {found['draws']} with it, it holds in {percent(effect[HOLDS])}"
            f" and fails in {percent(effect[FAILS])}"
        )
    return "; ".join(words)


def percent(share: float) -> str:
    """A share as the pages write it."""
    return f"{100 * share:.1f} %"
