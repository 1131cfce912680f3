rule summary:
    input:
        verdicts_of,
        all_figures_of,
    output:
        "results/{scale}/all",
    log:
        "results/{scale}/logs/summary.log",
    message:
        "Writing the verdict table of scale {wildcards.scale}."
    shell:
        "refigure summary --scale {wildcards.scale:q} > {log:q} 2>&1"


rule report:
    input:
        verdicts_of,
        all_figures_of,
    output:
        "results/{scale}/report.html",
    log:
        "results/{scale}/logs/report.log",
    params:
        code=report_code_of,
    message:
        "Writing the report of scale {wildcards.scale}."
    shell:
        "refigure report --scale {wildcards.scale:q} > {log:q} 2>&1"
