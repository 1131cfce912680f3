"""Measurements after training, of points, of pairs and of sets of runs. One file a kind."""
