"""Names, colours and panels of the two papers on ensembles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from refigure.plotting import empty

SETUPS = {
    "vgg_c100": "VGG16, CIFAR-100",
    "vgg_c10": "VGG16, CIFAR-10",
    "wrn_c100": "WideResNet-28, CIFAR-100",
    "wrn_c10": "WideResNet-28, CIFAR-10",
    "vgg_c100_free": "VGG16, CIFAR-100, no regularisation",
    "vgg_c10_free": "VGG16, CIFAR-10, no regularisation",
    "digits": "MLP, digits",
    "digits_2": "MLP, digits, second draw",
    "digits_flipped": "MLP, digits, 20 % of labels wrong",
    "vgg_c100_stairs": "VGG16, CIFAR-100, stairs",
    "vgg_c100_exponential": "VGG16, CIFAR-100, exponential",
    "vgg_c100_5000": "VGG16, CIFAR-100, 5,000 images",
    "digits_stairs": "MLP, digits, stairs",
    "digits_exponential": "MLP, digits, exponential",
    "digits_250": "MLP, digits, 250 images",
    "convnet_c100": "ConvNet, CIFAR-100 at 16x16",
    "members": "own members",
}
"""Setup -> its name in titles."""


def title_of(setup: str) -> str:
    """A setup's name in titles."""
    return SETUPS.get(setup, setup.replace("_", " "))


def setups_of(*frames: pd.DataFrame) -> list[str]:
    """The setups of some tables, in the order of the papers."""
    there = {name for frame in frames if len(frame) for name in frame["setup"]}
    return [name for name in SETUPS if name in there] + sorted(there - set(SETUPS))


def budget(j: float) -> str:
    """2^j as it stands at a tick: 1/8, 1, 4."""
    return str(Fraction(2.0**j)) if float(j).is_integer() else f"{2.0**j:.2g}"


def shades(values: Iterable[float], name: str = "viridis_r") -> dict[float, Any]:
    """A colour for each value, light for the smallest, dark for the largest."""
    ordered = sorted(set(values))
    places = np.linspace(0.08, 1, max(len(ordered), 1))
    return dict(zip(ordered, mpl.colormaps[name](places).tolist()))


def budget_shades(values: Iterable[float]) -> dict[float, Any]:
    """A colour for each budget, from dark blue for the smallest over yellow to dark red.

    Source: memory-split, section 0.
    """
    ordered = sorted(set(values))
    places = np.linspace(0.04, 0.96, max(len(ordered), 2))[: len(ordered)]
    return dict(zip(ordered, mpl.colormaps["jet"](places).tolist()))


def temperature_shades(values: Iterable[float]) -> dict[float, Any]:
    """A colour for each temperature, blue below 1, grey at 1, red above."""
    ordered = sorted(set(values))
    scale = max(abs(np.log(ordered)).max(), 1e-9) if ordered else 1.0
    colours = mpl.colormaps["RdBu_r"]
    found = {}
    for value in ordered:
        place = np.log(value) / scale
        # The middle of the map is white, which no line may be.
        found[value] = (
            (0.25, 0.25, 0.25, 1)
            if abs(place) < 1e-9
            else colours(0.5 + 0.42 * place + 0.08 * np.sign(place))
        )
    return found


def heat_map(axes: Axes, cells: pd.DataFrame, title: str) -> mpl.collections.QuadMesh | None:
    """Cells over the size of a member and the number of networks, as the paper draws them.

    Plain cells, n = 1 on top, low values dark red, the range that of the data; arrows along the
    size and along n, a dashed diagonal of equal budget through one network of the common size, and
    an arrow across it.

    Args:
        cells: j (a member has S 2^j parameters), n and value, one row a cell; n powers of two.

    Source: power-laws, section 0.
    """
    axes.set_title(title, fontsize=10)
    cells = cells.dropna(subset=["value"])
    if not len(cells):
        empty(axes)
        return None
    table = cells.pivot_table("value", index="n", columns="j").sort_index()
    table = table.reindex(columns=range(int(min(table)), int(max(table)) + 1))
    columns, rows = list(table), np.log2(table.index.to_numpy(dtype=float))
    mesh = axes.pcolormesh(
        np.arange(columns[0] - 0.5, columns[-1] + 1),
        np.append(rows - 0.5, rows[-1] + 0.5),
        np.ma.masked_invalid(table.to_numpy(dtype=float)),
        cmap="RdBu",
        rasterized=True,
    )
    axes.grid(False)
    axes.set_facecolor("0.93")
    axes.set_ylim(rows[-1] + 0.5, -0.5)
    axes.set_xticks(columns, [budget(j) for j in columns], rotation=60)
    axes.set_yticks(rows, [f"{n:g}" for n in table.index])
    axes.set(xlabel="Parameters of a network, standard sizes", ylabel="Number of networks")
    arrow = {"arrowstyle": "-|>", "color": "black", "linewidth": 1.2}
    left, right = columns[0], columns[-1]
    axes.annotate("", (right + 0.3, -0.25), (left - 0.3, -0.25), arrowprops=arrow)
    axes.annotate("", (left - 0.3, rows[-1] + 0.3), (left - 0.3, -0.25), arrowprops=arrow)
    if left < 0:
        low = max(left, -rows[-1])
        axes.plot([0.35, low - 0.35], [-0.35, -low + 0.35], color="black", linestyle="--")
        middle = low / 2
        axes.annotate(
            "", (middle + 0.8, -middle + 0.8), (middle - 0.8, -middle - 0.8), arrowprops=arrow
        )
        axes.set_xlim(left - 0.5, right + 0.5)
    return mesh


def published(entries: Mapping[str, Mapping[str, Any]], column: str) -> pd.DataFrame:
    """The paper's numbers of a quantity: j, n, value, error; of a figure's `published`."""
    rows = [
        {**entry, "error": entry["value"] * entry["tolerance"]}
        for entry in entries.values()
        if entry.get("column") == column
    ]
    return pd.DataFrame(rows, columns=["j", "n", "value", "error"])


def law(
    axes: Axes, found: Mapping[str, Any], x: Sequence[float], less: float = 0.0, **style: Any
) -> None:
    """A fitted power law, less a constant, as a dashed line.

    Args:
        found: with a, b and c.
    """
    fine = np.geomspace(min(x), max(x), 100)
    values = found["c"] + found["b"] * fine ** found["a"] - less
    axes.plot(fine, values, **{"color": "black", "linestyle": "--", "linewidth": 1, **style})


def ticks_of_two(axes: Axes, values: Iterable[float], which: str = "x") -> None:
    """A logarithmic axis whose ticks are powers of two: numbers of networks, or budgets."""
    low, high = min(values), max(values)
    getattr(axes, f"set_{which}scale")("log", base=2)
    axis = getattr(axes, f"{which}axis")
    powers = range(int(np.floor(np.log2(low))), int(np.ceil(np.log2(high))) + 1)
    step = 1 if len(powers) <= 9 else 2
    axis.set_major_locator(mpl.ticker.FixedLocator([2.0**power for power in powers[::step]]))
    axis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: budget(np.log2(value))))
    axis.set_minor_locator(mpl.ticker.NullLocator())


def best_of(cells: pd.DataFrame) -> pd.DataFrame:
    """The best split of each budget: rows of `tables.pools.splits`."""
    return cells[cells["best"]].sort_values("j")
