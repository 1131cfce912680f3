"""Refigure: the front door. `snakemake -c 2` builds every paper at the default scale.

Targets follow `--`:  snakemake -c 2 -- results/demo/figures/three-regimes/fig1.pdf
                      snakemake -c 2 -- three-regimes
                      snakemake -n --quiet -- results/paper/all
"""

from snakemake.utils import min_version

min_version("9.0")


container: "docker-daemon://refigure:latest"  # of envs/Containerfile; used with --sdm apptainer only


workdir: workflow.basedir


include: "rules/common.smk"


onstart:
    end_left_jobs()
    check_queue()
    clear_accepted(ROOT)
    keep_packs()
    lift_limit(workflow)
    record_provenance()
    start_warm()


onsuccess:
    look_at_queue()
    clear_accepted(ROOT)


onerror:
    look_at_queue()
    clear_accepted(ROOT)


rule all:
    default_target: True
    input:
        results(default_scale(), "all"),
        results(default_scale(), "report.html"),


for paper in papers():

    rule:
        name:
            paper
        input:
            targets_of(paper, default_scale()),


include: "rules/data.smk"
include: "rules/train.smk"
include: "rules/measure.smk"
include: "rules/tables.smk"
include: "rules/figures.smk"
include: "rules/claims.smk"
include: "rules/report.smk"
