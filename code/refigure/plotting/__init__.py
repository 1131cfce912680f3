"""What all notebooks share: style, legends, tables as figures, and how a figure is saved.

What the figures of one family of papers share stands in a module beside this one: a figure is drawn
anew when a module changes that its notebook imports. Notebooks draw with matplotlib in plain sight;
here is only what a second one needs too. seaborn is not imported: it loads scipy, and a notebook
would start 0.6 s later. Its palette is computed from the same colour map (a test compares the two).
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from refigure.files import whole

# A matplotlibrc of the user's must change no figure; the backend is the caller's.
mpl.rcParams.update({key: mpl.rcParamsDefault[key] for key in mpl.rcParams if key != "backend"})
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


def rainbow(ordered: Sequence[float], picks: Sequence[int]) -> dict[float, Any]:
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


def published(settings: Mapping[str, Any], column: str) -> list[Mapping[str, Any]]:
    """The paper's own numbers of a column, at the scale where the work is the same: `paper`."""
    if settings["scale"] != "paper":
        return []
    return [entry for entry in settings["published"].values() if entry.get("column") == column]


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
    for suffix, content in (("pdf", pdf.getvalue()), ("png", png.getvalue()), ("csv", csv)):
        with whole(Path(f"{target}.{suffix}")) as temporary:
            temporary.write_bytes(content)
    return Picture(png.getvalue())
