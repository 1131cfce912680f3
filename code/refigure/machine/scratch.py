"""What training left in `scratch/`, removed when Snakemake has accepted the packs made of it."""

from __future__ import annotations

import shutil
from pathlib import Path

from refigure.explain.staleness import Records
from refigure.graph.steps import PACK_FILES


def clear_accepted(root: Path) -> list[Path]:
    """Remove the parts of packs that are there and that Snakemake has a record of; returns them.

    Until then they are the only copy that Snakemake does not delete: it removes a pack that is
    older than its inputs, or whose job it takes for failed, and the next start takes the parts up.

    Args:
        root: folder of the checkout.
    """
    records, removed = Records(root), []
    for folder in sorted((root / "scratch").glob("*/*")):
        scale, pack = folder.parts[-2:]
        files = [f"results/{scale}/packs/{pack}/{name}" for name in PACK_FILES]
        accepted = all(
            (root / file).is_file() and records.of(file) and not records.half_done(file)
            for file in files
        )
        if folder.is_dir() and accepted:
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder)
    return removed
