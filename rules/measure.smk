rule measure:
    input:
        inputs_of("measure"),
    output:
        ensure("results/{scale}/measures/{part}.parquet", non_empty=True),
    log:
        "results/{scale}/logs/measure/{part}.log",
    localrule: is_local("measure")
    threads: 1
    resources:
        gpu=resource("measure", "gpu"),
        mem_mb=resource("measure", "mem_mb"),
        runtime=resource("measure", "runtime"),
    params:
        code=param_of("measure", "code"),
    message:
        "Measuring {wildcards.part}."
    shell:
        "refigure measure {wildcards.part:q} --scale {wildcards.scale:q} > {log:q} 2>&1"
