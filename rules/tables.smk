rule table:
    input:
        inputs_of("table"),
    output:
        ensure("results/{scale}/tables/{table}.parquet", non_empty=True),
    log:
        "results/{scale}/logs/table/{table}.log",
    localrule: is_local("table")
    resources:
        mem_mb=resource("table", "mem_mb"),
        runtime=resource("table", "runtime"),
    params:
        code=param_of("table", "code"),
    message:
        "Computing table {wildcards.table}."
    shell:
        "refigure table {wildcards.table:q} --scale {wildcards.scale:q} > {log:q} 2>&1"
