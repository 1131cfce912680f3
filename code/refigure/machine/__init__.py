"""How jobs run on a machine: warm process, kernels, locks, progress. No result depends on it."""
