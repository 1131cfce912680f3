"""Commands that explain: what would run and why, what a run is, what two results differ in.

They read the configuration, results and Snakemake's records, train nothing, and import no torch
(`plan` alone does, when it has to time a step). They name things as the rules do: what they say
of a target is what Snakemake does with it.
"""
