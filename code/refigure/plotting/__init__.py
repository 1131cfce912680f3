"""What the notebooks share: style, colours, legends, tables as figures, and how a figure is saved.

Notebooks draw with matplotlib in plain sight; here is only what a second one needs too. seaborn is
not imported: it loads scipy, and every notebook would start 0.6 s later. Its palette is computed
from the same colour map (a test compares the two).
"""

from __future__ import annotations

import io
import json
import os
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

mpl.rcParams.update(
    {
        "font.size": 8.5,
        "axes.titlesize": 12,
        "axes.labelsize": 9.5,
        "axes.linewidth": 0.7,
        "axes.edgecolor": "0.35",
        "axes.axisbelow": True,
        "axes.grid": True,
        "grid.color": "0.88",
        "grid.linewidth": 0.6,
        "xtick.color": "0.25",
        "ytick.color": "0.25",
        "xtick.labelcolor": "black",
        "ytick.labelcolor": "black",
        "lines.linewidth": 1.3,
        "lines.markersize": 4,
        "errorbar.capsize": 2,
        "legend.fontsize": 8.5,
        "legend.title_fontsize": 9,
        "legend.frameon": False,
        "legend.handlelength": 1.4,
        "legend.borderaxespad": 0,
        "figure.constrained_layout.use": True,
        "pdf.fonttype": 42,
    }
)

PNG_DPI = 170

REGIME_COLOURS = {1: "#2c6fbb", 2: "#e08214", 3: "#b2182b"}
PAIRS = {
    "M1": "ConvNet",
    "M2": "ConvNet, second data",
    "M3": "ResNet-18",
    "M4": "ResNet-18, second data",
}
PAIR_STYLES = {
    "M1": {"color": "#1b6ca8", "marker": "o"},
    "M2": {"color": "#7fb2d9", "marker": "s"},
    "M3": {"color": "#a63603", "marker": "^"},
    "M4": {"color": "#e6955c", "marker": "D"},
}
METHOD_COLOURS = {
    "Original": "#4d4d4d",
    "W": "#2c6fbb",
    "W+Voc": "#e08214",
    "W+G": "#8073ac",
    "W+N": "#1a7f37",
    "W+G+N": "#b2182b",
}
GATE_COLOURS = {"i": "#7fb2d9", "f": "#1b6ca8", "g": "#9e9e9e", "o": "#e08214"}
TASKS = ("sentiment", "topics", "characters", "words")
SETUPS = {
    "resnet_c10": "ResNet-18",
    "convnet_c10": "ConvNet",
    "convnet_c100": "ConvNet, second data",
    "resnet_c100": "ResNet-18, second data",
    "resnet_tiny": "ResNet-18, Tiny ImageNet",
    "practical_c10": "ordinary training",
    "practical_c100": "ordinary training, second data",
    "vit_c10": "ViT",
    "vit_c100": "ViT, second data",
    "ticks": "tick features",
}
PAIR_COLOURS = {"low-high": "tab:blue", "swa-high": "tab:orange", "swa-low": "tab:green"}
PAIR_NAMES = {
    "low-high": "low FLR, high FLR",
    "swa-high": "average, high FLR",
    "swa-low": "average, low FLR",
}
VERDICT_COLOURS = {"holds": "#1a7f37", "fails": "#b2182b", "undecided": "#6b6b6b"}

# Positions among the 30 colours of the paper's palette, for its 8 ELRs ascending.
_PICKS = (0, 3, 5, 12, 18, 21, 26, 29)
# ... and for its 5 fine-tuning LRs, or numbers of averaged models, descending.
_FALLING_PICKS = (0, 4, 12, 18, 26)


def read(path: str, *columns: str) -> pd.DataFrame:
    """Some columns of a table, in the order asked for.

    A table whose runs are absent at this scale has no rows and may lack columns: they are added,
    empty, so that a notebook draws without asking.

    Args:
        path: of a Parquet file.
        columns: all the notebook draws or selects by; none: the whole table.

    Raises:
        ValueError: a table with rows lacks a column.
    """
    frame = pd.read_parquet(path)
    if not columns:
        return frame
    absent = [name for name in columns if name not in frame]
    if absent and len(frame):
        raise ValueError(f"{path} has no column {', '.join(absent)}; it has {', '.join(frame)}")
    return frame.reindex(columns=list(columns))


def elr_palette(values: Iterable[float]) -> dict[float, tuple[float, float, float, float]]:
    """A colour for each learning rate, from red for the smallest to magenta for the largest.

    For 8 values these are the paper's: picks of seaborn's `gist_rainbow` with 30 colours. For
    another number the picks are interpolated.

    Source: three-regimes, figure 1 (released notebook).
    """
    return _rainbow(sorted({float(value) for value in values}), _PICKS)


def falling_palette(values: Iterable[float]) -> dict[float, tuple[float, float, float, float]]:
    """A colour for each value, from red for the largest to violet for the smallest.

    For 5 values these are the paper's: picks of seaborn's `gist_rainbow` with 30 colours.

    Source: where-large-lrs, figure 2 (released notebook).
    """
    return _rainbow(sorted({float(value) for value in values}, reverse=True), _FALLING_PICKS)


def _rainbow(ordered: Sequence[float], picks: Sequence[int]) -> dict[float, Any]:
    places = np.interp(np.linspace(0, len(picks) - 1, len(ordered)), range(len(picks)), picks)
    colours = mpl.colormaps["gist_rainbow"]
    return {value: colours((place + 1) / 31) for value, place in zip(ordered, places, strict=True)}


def short(value: float) -> str:
    """A learning rate as it stands in legends: 1e-3, 5.6e-3, 1."""
    if value == 0 or 1 <= value < 1000:
        return f"{value:g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def elr_legend(
    figure: Figure, palette: Mapping[float, Any], title: str = "ELR", extra: Sequence[Line2D] = ()
) -> None:
    """A legend of the learning rates, ascending, right of all panels: it covers nothing."""
    lines = [
        Line2D([], [], color=colour, linewidth=2, label=short(value))
        for value, colour in sorted(palette.items())
    ]
    side_legend(figure, [*lines, *extra], title)


def side_legend(figure: Figure, handles: Sequence[Any], title: str | None = None) -> None:
    """A legend right of all panels; its columns are as tall as the figure allows."""
    if not handles:
        return
    rows = max(int((figure.get_figheight() - 0.25) / 0.165), 1)
    figure.legend(
        handles=list(handles),
        title=title,
        loc="center left",
        bbox_to_anchor=(1.005, 0.5),
        ncols=-(-len(handles) // rows),
        columnspacing=1.0,
        labelspacing=0.3,
        alignment="left",
    )


def top_legend(figure: Figure, handles: Sequence[Any], columns: int | None = None) -> None:
    """A legend in one strip above all panels."""
    figure.legend(
        handles=list(handles),
        loc="lower center",
        bbox_to_anchor=(0.5, 1.01),
        ncols=columns or max(len(handles), 1),
        columnspacing=1.6,
    )


def line(label: str, **style: Any) -> Line2D:
    """A legend's entry: a line or marker that is drawn nowhere."""
    return Line2D([], [], label=label, **style)


def empty(axes: Axes, text: str = "no runs at this scale") -> None:
    """A panel that says why there is nothing in it."""
    axes.set_xscale("linear")
    axes.set_yscale("linear")
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.set_facecolor("0.975")
    axes.text(
        0.5,
        0.5,
        textwrap.fill(text, 28),
        transform=axes.transAxes,
        ha="center",
        va="center",
        color="0.45",
        style="italic",
    )


def lines(
    axes: Axes,
    runs: pd.DataFrame,
    by: str,
    x: str,
    y: str,
    palette: Mapping[float, Any],
    **style: Any,
) -> bool:
    """One line a value of `by`, from the largest to the smallest, so that small ELRs lie on top.

    Points without a finite number are left out: a clock that strikes less often than another breaks
    no line. Where nothing is left, the panel says so.

    Returns:
        Whether anything was drawn.
    """
    known = runs[np.isfinite(runs[[x, y]].to_numpy(dtype=float)).all(axis=1)]
    for value, rows in sorted(known.groupby(by), key=lambda item: -item[0]):
        axes.plot(rows[x], rows[y], **{"color": palette[value], **style})
    if not len(known):
        empty(axes)
    return bool(len(known))


def star(axes: Axes, runs: pd.DataFrame, x: str, y: str) -> None:
    """A black star at the common starting point: the rows of epoch 0."""
    start = runs[runs["epoch"] == 0]
    if len(start.dropna(subset=[x, y])):
        place = start[x].median(), start[y].median()
        axes.plot(*place, "k*", markersize=11, markeredgecolor="white", zorder=7)


STAR = Line2D(
    [], [], color="black", marker="*", markersize=10, linestyle="none", label="common\nstart"
)


def log_ticks(axes: Axes, which: str = "both") -> None:
    """Logarithmic axes whose ticks are labelled even where they span less than two decades."""
    for name in ("x", "y") if which == "both" else which:
        axis = getattr(axes, f"{name}axis")
        getattr(axes, f"set_{name}scale")("log")
        axis.set_minor_formatter(mpl.ticker.NullFormatter())  # else each empty text is laid out
        low, high = sorted(getattr(axes, f"get_{name}lim")())
        if not (low > 0 and np.isfinite(high)) or high / low > 150:
            continue
        subs = (1, 3) if high / low > 30 else (1, 2, 5)
        if high / low < 5:
            subs = (1, 1.5, 2, 3, 5, 7)
        if high / low < 2:
            subs = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
        axis.set_major_locator(mpl.ticker.LogLocator(subs=subs))
        axis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: short(value)))
        if low >= 0.1:
            axis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
        axis.set_minor_locator(mpl.ticker.NullLocator())


def mean_and_error(frame: pd.DataFrame, by: Sequence[str], column: str) -> pd.DataFrame:
    """Mean of a column over seeds, with its standard error.

    Args:
        frame: one row a run; rows without the number are left out.
        by: columns that tell the points apart.

    Returns:
        `by`, then `mean`, `se` (0 where there is one seed: no bar) and `n`, sorted by `by`.
    """
    known = frame.dropna(subset=[column])
    grouped = known.groupby(list(by), sort=True)[column].agg(["mean", "sem", "count"]).reset_index()
    grouped = grouped.rename(columns={"sem": "se", "count": "n"})
    return grouped.fillna({"se": 0.0})


def border_values(borders: pd.DataFrame, family: str) -> tuple[float, float]:
    """The ELRs between regimes 1 and 2, and between 2 and 3, of a family; NaN where not seen.

    Each is the geometric middle of the last value of one regime and the first of the next, by the
    majority over seeds (the rows with seed -1).
    """
    rows = borders[(borders["family"] == family) & (borders["seed"] == -1)]
    if not len(rows):
        return np.nan, np.nan
    names = ["last_r1", "first_r2", "last_r2", "first_r3"]
    row = rows[names].iloc[0].astype(float)
    # A family may pass from one regime to the third without the second between them.
    first = np.nanmin([row["first_r2"], row["first_r3"], np.inf])
    last = np.nanmax([row["last_r1"], row["last_r2"], -np.inf])
    low = np.sqrt(row["last_r1"] * first) if np.isfinite(first) else np.nan
    high = np.sqrt(last * row["first_r3"]) if np.isfinite(last) else np.nan
    return float(low), float(high)


def shade_regimes(axes: Axes, borders: tuple[float, float], names: bool = True) -> None:
    """Dashed lines at the borders, bands in the regimes' colours, and R1, R2, R3 above the panel.

    Call it when the x limits are final, and give the panel's title a pad of 13 points.

    Args:
        borders: as of `border_values`, on the x axis.
    """
    low, high = axes.get_xlim()
    inner = [value for value in borders if np.isfinite(value)]
    if not inner:
        return
    first = 1 if np.isfinite(borders[0]) else 2
    edges = [low, *inner, high]
    for number, (left, right) in enumerate(pairwise(edges), start=first):
        left, right = np.clip([left, right], low, high)
        axes.axvspan(left, right, color=REGIME_COLOURS[number], alpha=0.055, linewidth=0, zorder=0)
        if names and right > left:
            axes.text(
                np.sqrt(left * right) if axes.get_xscale() == "log" else (left + right) / 2,
                1.01,
                f"R{number}",
                transform=axes.get_xaxis_transform(),
                ha="center",
                va="bottom",
                fontsize=8,
                color=REGIME_COLOURS[number],
            )
    for value in inner:
        axes.axvline(value, color="0.35", linestyle="--", linewidth=0.9, zorder=1)
    axes.set_xlim(low, high)


_DASHED = {"color": "black", "linewidth": 0.9, "linestyle": (5, (10, 3))}
_EDGES = {"eta12": _DASHED, "eta2AB": _DASHED | {"linestyle": ":"}, "eta23": _DASHED}


def edges(bounds: pd.DataFrame, setup: str) -> dict[str, float]:
    """The borders eta12, eta2AB, eta23 of a setup: the paper's where it draws them, else ours."""
    rows = bounds[bounds["setup"] == setup]
    if not len(rows):
        return dict.fromkeys(_EDGES, np.nan)
    row = rows.iloc[0]
    drawn = {name: row[f"drawn_{name}"] for name in _EDGES}
    known = drawn if np.isfinite(list(drawn.values())).any() else row
    return {name: float(known[name]) for name in _EDGES}


def mark_edges(axes: Axes, borders: Mapping[str, float], names: bool = True) -> None:
    """Dashed lines at the last PLR of regime 1 and the first of regime 3, a dotted one at the last
    of 2A, and the regimes' names above the panel.

    Call it when the x limits are final, and give the panel's title a pad of 13 points.

    Args:
        borders: as of `edges`.
    """
    low, high = axes.get_xlim()
    known = {name: borders[name] for name in _EDGES if np.isfinite(borders[name])}
    for name, value in known.items():
        axes.axvline(value, zorder=1, **_EDGES[name])
    if names and "eta12" in known:
        ends = [known["eta12"], known.get("eta2AB", known["eta12"]), known.get("eta23", high)]
        labels = ("1", "2A", "2B" if "eta2AB" in known else "2", "3")
        for label, (left, right) in zip(labels, pairwise([low, *ends, high])):
            if right > left * 1.001:
                axes.text(
                    np.sqrt(left * right) if axes.get_xscale() == "log" else (left + right) / 2,
                    1.01,
                    label,
                    transform=axes.get_xaxis_transform(),
                    ha="center",
                    va="bottom",
                    fontsize=8,
                    color="0.3",
                )
    axes.set_xlim(low, high)


def edge_lines(borders: Iterable[Mapping[str, float]]) -> list[Line2D]:
    """Legend entries of what `mark_edges` draws of these borders, in any panel."""
    there = {name for each in borders for name, value in each.items() if np.isfinite(value)}
    lines = []
    if there & {"eta12", "eta23"}:
        lines.append(line("1 | 2 and 2 | 3", **_EDGES["eta12"]))
    if "eta2AB" in there:
        lines.append(line("end of 2A", **_EDGES["eta2AB"]))
    return lines


def published(settings: Mapping[str, Any], column: str) -> list[Mapping[str, Any]]:
    """The paper's own numbers of a column, at the scale where the work is the same: `paper`."""
    if settings["scale"] != "paper":
        return []
    return [entry for entry in settings["published"].values() if entry.get("column") == column]


def tasks_of(frame: pd.DataFrame) -> dict[str, str]:
    """Task -> its title with the text at this scale, in the papers' order, of the tasks there."""
    corpora = frame.groupby("task")["corpus"].first() if len(frame) else {}
    return {task: f"{task.capitalize()}: {corpora[task]}" for task in TASKS if task in corpora}


def logged(settings: Mapping[str, Any]) -> pd.DataFrame:
    """The published entries of a figure as rows, for those that hold several numbers each."""
    return pd.DataFrame(list(settings["published"].values()))


def cross(axes: Axes, x: float, entry: Mapping[str, Any], colour: Any = "black") -> None:
    """A cross at a number of the paper, as tall as the error of its reading."""
    error = entry["value"] * entry["tolerance"]
    axes.errorbar(
        x, entry["value"], error, fmt="x", color=colour, markersize=6, elinewidth=0.8, zorder=6
    )


def table(
    frame: pd.DataFrame,
    widths: Sequence[float],
    align: str | None = None,
    colours: Mapping[str, str] | None = None,
    fontsize: float = 9,
    grey: Collection[int] = (),
) -> Figure:
    """A table as a figure: wrapped text between rules, rows as tall as their longest cell.

    Args:
        frame: texts; its column names are the head.
        widths: of the columns, in inches.
        align: a letter a column, l, c or r; all left by default.
        colours: text of a cell -> its colour, as for verdicts.
        fontsize: in points.
        grey: the rows, from 0, that stand back.
    """
    align = align or "l" * len(widths)
    line_height, padding = fontsize / 72 * 1.24, 0.08
    letters = [max(int((width - 0.12) / (fontsize / 72 * 0.58)), 1) for width in widths]

    def wrapped(texts: Iterable[Any]) -> list[str]:
        return [
            "\n".join(textwrap.fill(part, room) for part in str(text).split("\n"))
            for text, room in zip(texts, letters, strict=True)
        ]

    rows = [wrapped(frame.columns), *(wrapped(row) for row in frame.itertuples(index=False))]
    if len(rows) == 1:
        rows.append(["nothing at this scale"] + [""] * (len(widths) - 1))
    heights = [
        max(text.count("\n") + 1 for text in row) * line_height + 2 * padding for row in rows
    ]
    figure = plt.figure(figsize=(sum(widths), sum(heights)))
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, sum(widths)), ylim=(sum(heights), 0))
    axes.axis("off")
    place = {"l": ("left", 0.04), "c": ("center", 0.5), "r": ("right", 0.96)}
    top = 0.0
    for number, (row, height) in enumerate(zip(rows, heights, strict=True)):
        left = 0.0
        for text, width, letter in zip(row, widths, align, strict=True):
            side, share = place[letter]
            inset = share * width if letter == "c" else (0.05 if letter == "l" else width - 0.08)
            axes.text(
                left + inset,
                top + padding,
                text,
                ha=side,
                va="top",
                fontsize=fontsize,
                linespacing=1.2,
                weight="bold" if number == 0 else "normal",
                color=(colours or {}).get(text, "0.5" if number - 1 in grey else "black"),
            )
            left += width
        top += height
        last = number == len(rows) - 1
        axes.axhline(top, color="black" if number == 0 or last else "0.85", linewidth=0.8)
    axes.axhline(0, color="black", linewidth=1.4)
    axes.axhline(top, color="black", linewidth=1.4)
    return figure


class Picture:
    """A saved PNG, which a notebook shows as the value of its cell."""

    def __init__(self, png: bytes):
        self.png = png

    def _repr_png_(self) -> bytes:
        return self.png


def save(figure: Figure, numbers: pd.DataFrame, target: str) -> Picture:
    """Write `<target>.pdf`, `.png` and `.csv`; the same table gives the same bytes.

    Args:
        figure: closed afterwards.
        numbers: what is drawn, one row a point; written with 10 significant digits.
        target: path without an ending.
    """
    from PIL import Image

    # Laid out and measured once, for both files.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    box = figure.get_tightbbox().padded(0.04)
    pdf, png = io.BytesIO(), io.BytesIO()
    figure.savefig(pdf, format="pdf", bbox_inches=box, metadata={"CreationDate": None})
    figure.savefig(png, format="png", bbox_inches=box, dpi=PNG_DPI, metadata={"Software": None})
    plt.close(figure)
    # 256 colours are enough for lines and text, and a third of the size.
    picture = Image.open(png).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    png = io.BytesIO()
    picture.save(png, format="png", optimize=True, dpi=(PNG_DPI, PNG_DPI))
    csv = numbers.to_csv(index=False, float_format="%.10g", lineterminator="\n").encode()
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    for suffix, content in (("pdf", pdf.getvalue()), ("png", png.getvalue()), ("csv", csv)):
        temporary = Path(f"{target}.{suffix}.part")
        temporary.write_bytes(content)
        os.replace(temporary, f"{target}.{suffix}")
    return Picture(png.getvalue())


def read_claims(claims: Mapping[str, str]) -> list[dict[str, Any]]:
    """The verdicts at the paths given, C2 before C10."""
    ordered = sorted(claims.items(), key=lambda item: (len(item[0]), item[0]))
    return [json.loads(Path(path).read_text(encoding="utf-8")) for _, path in ordered]


def verdicts(claims: Mapping[str, str]) -> None:
    """Print one line a claim: its id, verdict, statement and the reason where there is one."""
    for record in read_claims(claims):
        reason = f" ({record['reason']})" if record["reason"] else ""
        print(f"{record['id']} {record['verdict']}: {record['statement']}{reason}")
    if not claims:
        print("No claim rests on this figure.")
