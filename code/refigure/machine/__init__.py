"""How jobs run on a machine: warm process, notebooks, locks, progress. No result depends on it."""
