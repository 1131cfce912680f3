"""Draw docs/images/graph.svg: the kinds of jobs and the formats of files between them.

python docs/draw_graph.py [FILE]
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

INK, QUIET = "#1f2933", "#52606d"
FILLS = {"asked": "#fdf3d8", "job": "#dcebf7", "shown": "#e1f3e4"}
# name -> (x, y, kind, what it does)
BOXES = {
    "config": (0.0, 1.0, "asked", "YAML: grids, scales,\nfigures, claims"),
    "prepare": (0.0, 0.0, "job", "read a source,\nkeep its arrays"),
    "train": (1.45, 0.0, "job", "a pack of runs\nside by side"),
    "measure": (2.9, 0.0, "job", "a probe of\ntrained networks"),
    "table": (4.15, 0.5, "job", "a selection of runs,\none row a key"),
    "figure": (5.4, 1.0, "shown", "a notebook\nthat draws"),
    "claim": (5.4, 0.0, "shown", "a predicate\nand its verdict"),
    "report": (6.7, 0.5, "shown", "one page of\nfigures and verdicts"),
}
# (from, to, formats, bend of the arrow, where its label stands against the middle)
ARROWS = [
    ("config", "train", "spec", 0.0, (0.1, 0.08)),
    ("prepare", "train", "arrays\n.safetensors", 0.0, (0.0, -0.13)),
    ("train", "measure", "points\n.safetensors", 0.0, (0.0, -0.13)),
    ("train", "table", "history .parquet", -0.28, (-0.1, 0.22)),
    ("measure", "table", ".parquet", 0.0, (0.12, -0.12)),
    ("table", "figure", ".parquet", 0.0, (-0.1, 0.09)),
    ("table", "claim", ".parquet", 0.0, (-0.1, -0.09)),
    ("figure", "report", ".pdf .png\n.csv .ipynb", 0.0, (0.24, 0.1)),
    ("claim", "report", ".json", 0.0, (0.12, -0.08)),
]
WIDE, HIGH = 0.86, 0.4


def side(box: str, other: str) -> tuple[float, float]:
    """Where an arrow to or from the other box touches this one."""
    x, y, *_ = BOXES[box]
    to_x, to_y, *_ = BOXES[other]
    if abs(to_x - x) < 0.5:
        return x, y + HIGH / 2 * (1 if to_y > y else -1)
    return x + WIDE / 2 * (1 if to_x > x else -1), y


def draw(file: Path) -> None:
    """Write the picture as SVG, the same bytes each time."""
    plt.rcParams.update(
        {"svg.fonttype": "path", "svg.hashsalt": "refigure", "font.family": "DejaVu Sans"}
    )
    figure, axes = plt.subplots(figsize=(12.5, 3.4))
    for name, (x, y, kind, text) in BOXES.items():
        axes.add_patch(
            FancyBboxPatch(
                (x - WIDE / 2, y - HIGH / 2),
                WIDE,
                HIGH,
                boxstyle="round,pad=0,rounding_size=0.05",
                facecolor=FILLS[kind],
                edgecolor=QUIET,
                linewidth=1,
            )
        )
        axes.text(x, y + 0.085, name, ha="center", va="center", weight="bold", size=11, color=INK)
        axes.text(x, y - 0.06, text, ha="center", va="center", size=7.5, color=INK)
    for one, other, text, bend, (right, up) in ARROWS:
        begin, end = side(one, other), side(other, one)
        axes.annotate(
            "",
            xy=end,
            xytext=begin,
            arrowprops={
                "arrowstyle": "-|>",
                "color": QUIET,
                "shrinkA": 1,
                "shrinkB": 1,
                "connectionstyle": f"arc3,rad={bend}",
            },
        )
        middle = ((begin[0] + end[0]) / 2 + right, (begin[1] + end[1]) / 2 + up)
        axes.text(
            *middle,
            text,
            ha="center",
            va="center",
            size=7.5,
            color=INK,
            family="DejaVu Sans Mono",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )
    axes.set(xlim=(-0.5, 7.2), ylim=(-0.35, 1.3))
    axes.axis("off")
    figure.savefig(file, metadata={"Date": None}, bbox_inches="tight", pad_inches=0.05)
    plt.close(figure)


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parent / "images/graph.svg")
