rule summary:
    input:
        inputs_of("summary"),
    output:
        "results/{scale}/all",
    log:
        "results/{scale}/logs/summary.log",
    localrule: is_local("summary")
    params:
        code=param_of("summary", "code"),
    message:
        "Writing the verdict table of scale {wildcards.scale}."
    shell:
        "refigure summary --scale {wildcards.scale:q} > {log:q} 2>&1"


rule report:
    input:
        inputs_of("report"),
    output:
        "results/{scale}/report.html",
    log:
        "results/{scale}/logs/report.log",
    localrule: is_local("report")
    params:
        code=param_of("report", "code"),
    message:
        "Writing the report of scale {wildcards.scale}."
    shell:
        "refigure report --scale {wildcards.scale:q} > {log:q} 2>&1"
