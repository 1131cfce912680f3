"""The claims of where-large-lrs and how-large-lrs as predicates over tables.

The second paper's claims restate the first one's: the same functions decide both. The predicates
are those of the papers' pages (`docs/papers/`); what these leave open is said at each. A setup is a
network and its data; seeds of one setup are paired, as they begin at the same weights.

`accuracy`: C1 to C4, B1 to B6. `basins`: C5, B8. `features`: C6, C7. `stages`: C8 to C10, C12.
`practice`: C11, B7.
"""
