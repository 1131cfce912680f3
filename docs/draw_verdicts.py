"""Write the verdicts of a build into the papers' pages, so that no number there is typed by hand.

    python docs/draw_verdicts.py [--from results/demo/claims]

With --from the records of that build are kept in docs/verdicts.json first, as far as a page shows
them. Without it the pages are written from what is kept; a test compares. The error rates beside
them are those of config/error_rates.json.
"""

from __future__ import annotations

import argparse
import json
import re
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

from refigure.report.error_rates import sentence
from refigure.report.wording import estimate, threshold

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "docs/verdicts.json"
RATES = ROOT / "config/error_rates.json"
PAGES = ROOT / "docs/papers"
BEGIN, END = "<!-- verdicts: written by docs/draw_verdicts.py -->", "<!-- end of verdicts -->"
SHOWN = 5  # deciding numbers of a claim; the report has all
WIDTH = 118


def kept_of(record: dict[str, Any]) -> dict[str, Any]:
    """What a page shows of a claim's record."""
    bounds = record["threshold"] or {}
    deciding = {name: record["numbers"].get(name) for name in bounds}
    shown = {name: number for name, number in deciding.items() if number} or record["numbers"]
    return {
        "id": record["id"],
        "statement": record["statement"],
        "verdict": record["verdict"],
        "reason": record["reason"],
        "numbers": dict(list(shown.items())[:SHOWN]),
        "further": max(len(shown) - SHOWN, 0),
        "threshold": {name: bounds[name] for name in list(shown)[:SHOWN] if name in bounds},
        "published": (record.get("published") or {}).get("verdict"),
    }


def paragraph(claim: dict[str, Any], rates: dict[str, Any] | None) -> list[str]:
    """A claim with its verdict, reason, deciding numbers and error rates, wrapped."""
    said = f"**{claim['id']} {claim['verdict']}.** {claim['statement']}"
    if claim["reason"]:
        said += f" *{claim['reason'].rstrip('.')}.*"
    numbers = []
    for name, number in claim["numbers"].items():
        text = f"{name} {estimate(number['value'], number['se'])}"
        if name in claim["threshold"]:
            text += f" (threshold {threshold(claim['threshold'][name])})"
        numbers.append(text)
    if claim["further"]:
        numbers.append(f"and {claim['further']} more")
    if numbers:
        said += f" Numbers: {'; '.join(numbers)}."
    if claim["published"]:
        said += f" On the paper's own numbers it comes out as: {claim['published']}."
    if rates:
        said += f" Error rates: {sentence(rates)}."
    said = re.sub(r"(?<=\w)\*(?=\w)", r"\\*", said)
    return textwrap.wrap(
        f"- {said}", WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def block(claims: list[dict[str, Any]], rates: dict[str, Any]) -> str:
    """The verdicts of a paper as Markdown, between the marks."""
    counts = Counter(claim["verdict"] for claim in claims)
    said = ", ".join(f"{counts[word]} {word}" for word in ("holds", "fails", "undecided"))
    lines = [
        BEGIN,
        f"Verdicts of the last whole build at `demo`: {said}. Where a number in the text below",
    ]
    lines += ["differs from one here, it is of an earlier build of a part.", ""]
    for claim in claims:
        lines += paragraph(claim, rates.get(claim["id"]))
    return "\n".join([*lines, END])


def written(page: str, claims: list[dict[str, Any]], rates: dict[str, Any]) -> str:
    """A page with the block in its place: where it stood, or before what is said of `demo`."""
    made = block(claims, rates)
    if BEGIN in page:
        return re.sub(
            f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: made, page, flags=re.DOTALL
        )
    place = re.search(r"^## .*(?:`demo`|at demo)", page, flags=re.MULTILINE)
    if place is None:
        raise SystemExit("no heading about `demo` to put the verdicts before")
    return f"{page[: place.start()]}## Verdicts at `demo`\n\n{made}\n\n{page[place.start() :]}"


def rates_of_demo() -> dict[str, Any]:
    """Paper -> claim -> its error rates at `demo`, as `benchmarks/verdicts.py` measured them."""
    return json.loads(RATES.read_text(encoding="utf-8")).get("demo", {})


def main() -> None:
    """Keep the records, if a build is named, and write the pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--from", dest="folder", type=Path)
    folder = parser.parse_args().folder
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else {}
    for path in sorted(folder.glob("*.json")) if folder else []:
        record = json.loads(path.read_text(encoding="utf-8"))
        kept[record["paper"]] = [kept_of(claim) for claim in record["claims"]]
    if folder:
        text = json.dumps(kept, indent=1, ensure_ascii=False, sort_keys=False)
        KEPT.write_text(text + "\n", encoding="utf-8")
    rates = rates_of_demo()
    for slug, claims in kept.items():
        page = PAGES / f"{slug}.md"
        text = written(page.read_text(encoding="utf-8"), claims, rates.get(slug, {}))
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
