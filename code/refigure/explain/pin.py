"""`refigure pin`: write the checksum of a user's own file into config/local.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from refigure.data.archives import Files
from refigure.data.sources import digest_of, survey
from refigure.errors import UserError
from refigure.files import write_text
from refigure.graph.config import FILES
from refigure.graph.paths import placed
from refigure.graph.reading import Keys, check_name, read_yaml, suggest


def pin(root: Path, name: str, again: bool = False) -> str:
    """Give the source of that name in config/local.yaml its SHA-256; returns lines for the user.

    What is read of it is said as well: here is where a wrong layout should be met. Only the
    checksum in the file is written; all else of it, comments too, stays.

    Args:
        again: replace a checksum that is there, after a wanted change of the data.

    Raises:
        UserError: there is no such source or file, it is not laid out as it should be, or it has
            another checksum already.
    """
    path = root / "config" / "local.yaml"
    content = read_yaml(path)
    sources = Keys(content.get("sources"), f"{path}: sources").mapping
    if name not in sources:
        raise UserError(f"{path}: no source '{name}'{suggest(name, sources)}")
    check_name(name, f"{path}: sources")
    source = Keys(sources[name], f"{path}: sources.{name}").mapping
    kind = next((key for key in FILES if key in source), source.get("kind"))
    place = next((source[key] for key in (*FILES, "path") if key in source), None)
    if place is None:
        raise UserError(f"{path}: source '{name}' names no file under 'images', 'text' or 'path'")
    written = place if isinstance(place, list) else [place]
    if not all(isinstance(one, str) for one in written):
        raise UserError(f"{path}: source '{name}': expected a path or a list of them, got {place}")
    paths = [placed(root, one) for one in written]
    follow = bool(source.get("follow_links"))
    found = digest_of(paths if isinstance(place, list) else paths[0], follow)
    said = _read(kind, paths, follow)
    before = source.get("sha256")
    if str(before).lower() == found:
        return f"{said}\nsource '{name}': {place} has the checksum that {path} holds"
    if before is not None and not again:
        raise UserError(
            f"{path}: source '{name}': sha256 is {before}, but {place} has {found};"
            f" after a wanted change `refigure pin --again {name}` writes it"
        )
    wanted = {**content, "sources": {**sources, name: {**source, "sha256": found}}}
    text = _with_checksum(path.read_text(encoding="utf-8"), name, found)
    if text is None or yaml.safe_load(text) != wanted:  # written in a way that has no one place
        text = yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True)
    write_text(text, path)
    return f"{said}\nsource '{name}': wrote sha256 {found} to {path}"


def _read(kind: Any, paths: list[Path], follow: bool) -> str:
    """What the reader of this kind of source finds there, in a line."""
    if kind == "images":
        return survey(paths[0], follow)[2]
    if kind == "predictions":
        from refigure.data import members  # what it imports takes seconds

        return members.survey(paths[0], follow).line(paths[0])
    if kind == "weights":
        return "; ".join(f"{path}: {path.stat().st_size / 1e6:.1f} MB" for path in paths)
    said = []
    for path in paths:
        files = Files(path, follow)
        names = [member.name for member in files] if kind == "text" else [path.name]
        shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
        hidden = f"; passed over: {files.hidden} hidden" if files.hidden else ""
        said.append(f"{path}: {files.kind} of {len(names)}: {shown}{hidden}")
    return "; ".join(said)


def _with_checksum(text: str, name: str, found: str) -> str | None:
    """The same text with the checksum in it; None where no one place is found for it."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for key in ("sources", name):
        inner = _entries(node)
        if key not in inner:
            return None
        node = inner[key][1]
    entries = _entries(node)
    if not entries:
        return None
    if "sha256" in entries:
        value = entries["sha256"][1]
        return text[: value.start_mark.index] + found + text[value.end_mark.index :]
    last_key, last = list(entries.values())[-1]
    if node.flow_style:
        end = last.end_mark.index
        return f"{text[:end]}, sha256: {found}{text[end:]}"
    # Before the next line that is not of this value: the mark of a block may lie beyond comments.
    end = last.end_mark.index
    while end and text[end - 1] in " \t\r\n":
        end -= 1
    line_end = text.find("\n", end)
    line_end = len(text) if line_end < 0 else line_end
    indent = " " * last_key.start_mark.column
    return f"{text[:line_end]}\n{indent}sha256: {found}{text[line_end:]}"


def _entries(node: Any) -> Mapping[str, tuple[Any, Any]]:
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {key.value: (key, value) for key, value in node.value}
