"""The measured error rates of predicates, as `benchmarks/verdicts.py` wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refigure.claims.worlds import KINDS, WRONG
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
    """A claim's error rates in a sentence; empty where none were measured."""
    found = rates.get(graph.scale.name, {}).get(paper, {}).get(name)
    if not found:
        return ""
    words = []
    for kind in KINDS:
        if isinstance(found[kind], str):
            words.append(f"no {kind} world ({found[kind]})")
        else:
            share = found[kind][WRONG[kind]]
            words.append(f"{WRONG[kind]} in {share:.1%} of {found['draws']} {kind} worlds")
    text = "; ".join(words)
    if found["of"] != key_of(graph, paper, name):
        text += " (measured for an earlier form of this predicate)"
    return text
