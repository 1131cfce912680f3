rule prepare:
    output:
        ensure("results/{scale}/data/{data}.safetensors", non_empty=True),
    log:
        "results/{scale}/logs/prepare/{data}.log",
    localrule: is_local("prepare")
    resources:
        mem_mb=resource("prepare", "mem_mb"),
        runtime=resource("prepare", "runtime"),
    params:
        recipe=param_of("prepare", "recipe"),
        code=param_of("prepare", "code"),
    message:
        "Preparing {wildcards.data}."
    shell:
        "refigure prepare {wildcards.data:q} --scale {wildcards.scale:q} > {log:q} 2>&1"
