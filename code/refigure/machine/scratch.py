"""What training left in `scratch/`: kept until Snakemake has accepted the packs made of it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from refigure.errors import UserError
from refigure.explain.staleness import Records
from refigure.graph.steps import PACK_FILES


def check_links(root: Path) -> None:
    """Refuse links in place of `results/` and `scratch/` that lead to nothing.

    Links are fine, to another disk for example; but a folder cannot be made below such a one, and
    what Snakemake would say of that names neither the link nor where it leads.

    Raises:
        UserError: names the link and what it leads to.
    """
    for name in ("results", "scratch"):
        path = root / name
        if path.is_symlink() and not path.is_dir():
            raise UserError(f"{name} is a link to {os.readlink(path)}, where no folder is")


def keep_trained(root: Path, packs: Iterable[tuple[str, str]]) -> list[Path]:
    """Keep whole packs whose jobs Snakemake is about to run: it deletes their files before.

    A pack may have been accepted and run again since a time changed: results were copied without
    their times, or an input came from a machine whose clock is ahead. Its job takes up what is
    kept, where it was trained by the same code, and trains the rest.

    Args:
        root: folder of the checkout.
        packs: scale and name.

    Returns:
        The folders of what is kept. Where the file system refuses, the pack is trained again, and
        a line says so.
    """
    kept = []
    for scale, pack in packs:
        folder = root / "results" / scale / "packs" / pack
        if not all((folder / name).is_file() for name in PACK_FILES):
            continue
        part = root / "scratch" / scale / pack / "part-accepted"
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            for name in PACK_FILES:  # run.json, the last, says that the others are there
                try:
                    os.link(folder / name, part / name)
                except OSError:  # a file system without hard links
                    shutil.copy2(folder / name, part / name)
        except OSError as error:
            print(f"refigure: {part}: not kept: {error.strerror}", file=sys.stderr)
            continue
        kept.append(part)
    return kept


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
