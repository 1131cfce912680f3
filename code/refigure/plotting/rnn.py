"""Colours of methods and gates, and titles of tasks, of the two papers on sparse LSTMs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

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


def tasks_of(frame: pd.DataFrame) -> dict[str, str]:
    """Task -> its title with its text, in the papers' order, of the tasks there."""
    corpora = frame.groupby("task")["corpus"].first() if len(frame) else {}
    return {task: f"{task.capitalize()}: {corpora[task]}" for task in TASKS if task in corpora}


def logged(settings: Mapping[str, Any]) -> pd.DataFrame:
    """The published entries of a figure as rows, for those that hold several numbers each."""
    return pd.DataFrame(list(settings["published"].values()))
