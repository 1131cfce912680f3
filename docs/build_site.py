"""Build the site of the documentation: the pages, and a gallery of the figures that are there.

    python docs/build_site.py [FOLDER] [--scale demo]

The pages are copied to a folder of their own (site_pages/, which git ignores), since README,
CONTRIBUTING and CHANGELOG stand at the top of the repository and links to them lead out of docs/.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "site_pages"
TOP = ("CONTRIBUTING.md", "CHANGELOG.md")
CSS = """.gallery { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)) }
.gallery figure { margin: 0; padding: .5rem;
  border: 1px solid var(--md-default-fg-color--lightest) }
.gallery img { width: 100%; height: 11rem; object-fit: contain; background: white }
.gallery figcaption { font-size: .7rem; max-width: none; margin: .4rem 0 0; text-align: left;
  font-style: normal }
.md-typeset table:not([class]) { font-size: .66rem; white-space: normal }
.md-typeset table:not([class]) th { min-width: 2.5rem }
"""


def papers() -> list[tuple[str, dict]]:
    """(slug, its configuration) in the order of config.yaml."""
    listed = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))["papers"]
    return [
        (slug, yaml.safe_load((ROOT / f"config/papers/{slug}.yaml").read_text(encoding="utf-8")))
        for slug in listed
    ]


def gallery(scale: str) -> str:
    """The page of all figures that lie under results/<scale>/figures, their pictures copied."""
    lines = [
        "# Gallery",
        "",
        f"Figures at scale `{scale}`, as they lay on the machine that built this site.",
    ]
    shown = 0
    for slug, paper in papers():
        figures = paper.get("figures") or {}
        there = [
            (name, one)
            for name, one in figures.items()
            if (ROOT / f"results/{scale}/figures/{slug}/{name}.png").is_file()
        ]
        if not figures:
            continue
        lines += ["", f"## {paper['title']}", ""]
        lines += [f"[{slug}](papers/{slug}.md): {len(there)} of {len(figures)} figures are here."]
        if there:
            lines += ["", '<div class="gallery">']
        for name, one in there:
            picture = PAGES / f"figures/{slug}/{name}.png"
            picture.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / f"results/{scale}/figures/{slug}/{name}.png", picture)
            alt = " ".join(str(one.get("alt", name)).split()).replace('"', "&quot;")
            look = " ".join(str(one.get("look", "")).split())
            lines += [
                f'<figure><a href="figures/{slug}/{name}.png">'
                f'<img loading="lazy" src="figures/{slug}/{name}.png" alt="{alt}"></a>'
                f"<figcaption><strong>{name}</strong>. {look}</figcaption></figure>"
            ]
        if there:
            lines += ["</div>"]
        shown += len(there)
    if not shown:
        lines[2:3] = [
            "No figure has been built on the machine that built this site. To see them here:",
            "",
            "```sh",
            "make demo     # 15 to 20 minutes on two cores",
            "make docs",
            "```",
        ]
    return "\n".join(lines) + "\n"


def outward(text: str, depth: int) -> str:
    """Links that lead out of docs/: to pages that stand at the top, which here stand beside."""
    up = "../" * depth

    def turned(found: re.Match) -> str:
        path = found[1].removeprefix("../" * (depth + 1))
        name = path.partition("#")[0]
        if name in TOP:
            return f"]({up}{path})"
        if name == "README.md":
            return f"]({up}index.md)"
        return found[0]

    return re.sub(r"\]\(((?:\.\./)+[A-Z][^)]*)\)", turned, text)


def collect(scale: str) -> None:
    """Fill site_pages/ anew."""
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.copytree(ROOT / "docs", PAGES, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for path in PAGES.rglob("*.md"):
        depth = len(path.relative_to(PAGES).parts) - 1
        path.write_text(outward(path.read_text(encoding="utf-8"), depth), encoding="utf-8")
    for name in TOP:
        text = (ROOT / name).read_text(encoding="utf-8")
        (PAGES / name).write_text(text.replace("](docs/", "]("), encoding="utf-8")
    (PAGES / "site.css").write_text(CSS, encoding="utf-8")
    (PAGES / "gallery.md").write_text(gallery(scale), encoding="utf-8")


def main() -> int:
    """Collect the pages and run MkDocs, which stops at a link that leads nowhere."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default=str(ROOT / "site"))
    parser.add_argument("--scale", default="demo")
    options = parser.parse_args()
    collect(options.scale)
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "-f", "mkdocs.yml"]
    told = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [*command, "-d", str(Path(options.folder).resolve())], cwd=ROOT, env=told, check=False
    )
    if done.returncode == 0:
        print(f"{options.folder}/index.html")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
