"""`results/<scale>/all`: the verdicts as text in 80 columns, the counts at the end."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from refigure.claims.verdict import FAILS, HOLDS, UNDECIDED

WORDS = (HOLDS, FAILS, UNDECIDED)
WIDTH = 79  # a terminal of 80 columns breaks no line


def verdict_table(
    scale: str, papers: Mapping[str, Sequence[Mapping[str, Any]]], absent: Sequence[str]
) -> str:
    """Claims with their verdicts and reasons, then verdicts counted by paper.

    A reason has one line and ends in ` ...` where that is too short: the report has every word.

    Args:
        papers: slug -> records of claims, as `refigure.claims.verdict.claim_record` makes them.
        absent: slugs of papers whose figures and claims are not there yet.
    """
    lines = [f"Verdicts at scale '{scale}'", ""]
    for slug, records in papers.items():
        lines.append(slug)
        ids = max((len(record["id"]) for record in records), default=0)
        for record in records:
            start = f"  {record['id']:<{ids}}  {record['verdict']:<9}  "
            blank = " " * len(start)
            said = textwrap.wrap(record["statement"], WIDTH - len(start), break_on_hyphens=False)
            lines += [f"{start}{said[0]}", *(blank + line for line in said[1:])]
            if record["reason"]:
                room = WIDTH - len(start) - 2
                lines.append(
                    f"{blank}({textwrap.shorten(record['reason'], room, placeholder=' ...')})"
                )
        lines.append("")
    return "\n".join(lines + _counts(papers, absent)) + "\n"


def _counts(papers: Mapping[str, Sequence[Mapping[str, Any]]], absent: Sequence[str]) -> list[str]:
    rows = {
        slug: [sum(record["verdict"] == word for record in records) for word in WORDS]
        for slug, records in papers.items()
    }
    if len(rows) > 1:
        rows["together"] = [sum(column) for column in zip(*rows.values())]
    width = max(map(len, [*rows, *absent, "paper"]))
    lines = [f"{'paper':<{width}}" + "".join(f"{word:>11}" for word in WORDS)]
    for slug, counts in rows.items():
        lines.append(f"{slug:<{width}}" + "".join(f"{count:>11}" for count in counts))
    return lines + [f"{slug:<{width}}  not built yet" for slug in absent]
