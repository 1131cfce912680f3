"""What checkpoints of a user's own are together."""

from __future__ import annotations

import pandas as pd


def basin(basin: pd.DataFrame) -> pd.DataFrame:
    """The rows of `measures.checkpoints.basin` as they are, networks first.

    Returns:
        the columns that the probe says.
    """
    return basin.reset_index(drop=True)
