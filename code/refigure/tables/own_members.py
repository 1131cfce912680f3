"""Pools of a user's own networks: what `measures.pool_curves` and `tables.pools.sizes` say of them.

No pack holds these networks, so no probe selects them: the tables take the prepared file itself.
"""

from __future__ import annotations

import pandas as pd

from refigure.data.members import Members
from refigure.measures.pool_curves import Plan, of_logits
from refigure.tables.histories import frame_of
from refigure.tables.pools import ENSEMBLES, SIZES, exponent

ROWS = {name: kind for name, kind in ENSEMBLES.items() if name not in ("j", "parameters")}
SETUP = "members"
CHUNK = 32
"""Members whose logits are in memory at once."""


def name_of(slot: int) -> str:
    """The setup of a pool: `members`, `members_2`, ..."""
    return SETUP if slot == 1 else f"{SETUP}_{slot}"


def measured(pool: Members | None = None, slot: int = 1) -> pd.DataFrame:
    """The rows of `measures.pool_curves.of_logits` for each width of a pool.

    Args:
        pool: None: there is none, and no rows.
        slot: which of the user's pools it is, from 1.
    """
    rows = [
        {"setup": name_of(slot), "k": k, **row}
        for k in (pool.members if pool else ())
        for row in of_logits(lambda k=k: pool.chunks(k, CHUNK), pool.labels, Plan())
    ]
    return frame_of(rows, ROWS)


def sizes(**pools: Members | None) -> pd.DataFrame:
    """A table as of `tables.pools.sizes`: what is not known of foreign networks is 0.

    Args:
        pools: `pool_1`, `pool_2`, ... -> the pool of that slot.
    """
    rows = [
        {
            "setup": name_of(int(name.rpartition("_")[2])),
            "k": k,
            "j": exponent(size / pool.parameters[pool.standard]),
            "parameters": size,
            "relative": size / pool.parameters[pool.standard],
            "members": len(pool.members[k]),
            "macs": 0,
            "activations": 0,
            "epochs": 0,
            "model": "own",
            "standard": k == pool.standard,
        }
        for name, pool in sorted(pools.items())
        if pool
        for k, size in pool.parameters.items()
    ]
    return frame_of(rows, SIZES)
