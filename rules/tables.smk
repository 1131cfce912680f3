rule table:
    input:
        table_inputs_of,
    output:
        ensure("results/{scale}/tables/{table}.parquet", non_empty=True),
    log:
        "results/{scale}/logs/table/{table}.log",
    resources:
        mem_mb=resource("table", "mem_mb"),
        runtime=resource("table", "runtime"),
    params:
        code=table_code_of,
    message:
        "Computing table {wildcards.table}."
    shell:
        "refigure table {wildcards.table:q} --scale {wildcards.scale:q} > {log:q} 2>&1"
