"""What is asked for: configuration, runs, packs, probes, tables, figures, claims. No torch here."""
