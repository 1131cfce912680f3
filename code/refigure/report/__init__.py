"""The report: one self-contained page a scale, with every claim, figure and what they cost."""
