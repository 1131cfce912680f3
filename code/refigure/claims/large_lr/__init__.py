"""The claims of where-large-lrs and how-large-lrs as predicates over tables.

The second paper's claims restate the first one's: the same functions decide both. The predicates
are those of the specifications' sections 0 and 2; what they leave open is said at each. A setup is
a network and its data; seeds of one setup are paired, as they begin at the same weights.

`accuracy`: C1 to C4, B1 to B6. `basins`: C5, B8. `features`: C6, C7. `stages`: C8 to C10, C12.
`practice`: C11, B7.
"""

from refigure.claims.large_lr.accuracy import (
    averaging,
    bad_restart,
    fixed_lr_regimes,
    indifferent_to_flr,
    large_beats_small,
    narrow_interval,
    optimum_above_threshold,
    same_interval,
    too_large,
)
from refigure.claims.large_lr.basins import basins, one_basin, separate_basins, unstable_minima
from refigure.claims.large_lr.features import (
    features_at_the_ends,
    sparse_features,
    sparsity_stays,
    useful_frequencies,
)
from refigure.claims.large_lr.practice import in_practice, practice
from refigure.claims.large_lr.stages import (
    last_stage_decides,
    sharpness_is_no_function,
    slow_convergence,
    spread_of_norms,
)

__all__ = [
    "averaging",
    "bad_restart",
    "basins",
    "features_at_the_ends",
    "fixed_lr_regimes",
    "in_practice",
    "indifferent_to_flr",
    "large_beats_small",
    "last_stage_decides",
    "narrow_interval",
    "one_basin",
    "optimum_above_threshold",
    "practice",
    "same_interval",
    "separate_basins",
    "sharpness_is_no_function",
    "slow_convergence",
    "sparse_features",
    "sparsity_stays",
    "spread_of_norms",
    "too_large",
    "unstable_minima",
    "useful_frequencies",
]
