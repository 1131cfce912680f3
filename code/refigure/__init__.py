"""Refigure: every figure of ten deep-learning papers as one target of a Snakemake graph."""

__version__ = "0.1.0"
