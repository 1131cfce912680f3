"""One training loop for every paper, and what it calls."""
