"""`refigure pin`: write the checksum of a user's own file into config/local.yaml."""

from __future__ import annotations

from pathlib import Path

import yaml

from refigure.data.sources import digest_of
from refigure.errors import UserError
from refigure.files import write_text
from refigure.graph.config import FILES
from refigure.graph.reading import read_yaml, suggest


def pin(root: Path, name: str) -> str:
    """Give the source of that name in config/local.yaml its SHA-256; returns a line for the user.

    The file is written anew, without its comments. A checksum that is there already is compared,
    never replaced.

    Raises:
        UserError: there is no such source or file, or it has another checksum already.
    """
    path = root / "config" / "local.yaml"
    content = read_yaml(path)
    sources = content.get("sources") or {}
    if name not in sources:
        raise UserError(f"{path}: no source '{name}'{suggest(name, sources)}")
    source = sources[name]
    places = [source[key] for key in (*FILES, "path") if key in (source or {})]
    if not places:
        raise UserError(f"{path}: source '{name}' names no file under 'images', 'text' or 'path'")
    place = places[0]
    found = digest_of([root / one for one in place] if isinstance(place, list) else root / place)
    written = source.get("sha256")
    if written == found:
        return f"source '{name}': {place} has the checksum that {path} holds"
    if written is not None:
        raise UserError(f"{path}: source '{name}': sha256 is {written}, but {place} has {found}")
    source["sha256"] = found
    write_text(yaml.safe_dump(content, sort_keys=False), path)
    return f"source '{name}': wrote sha256 {found} to {path}"
