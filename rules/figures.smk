rule figure:
    input:
        inputs_of("figure"),
    output:
        pdf="results/{scale}/figures/{paper}/{figure}.pdf",
        png="results/{scale}/figures/{paper}/{figure}.png",
        csv="results/{scale}/figures/{paper}/{figure}.csv",
        notebook="results/{scale}/notebooks/{paper}/{figure}.ipynb",
    log:
        text="results/{scale}/logs/figure/{paper}/{figure}.log",
        notebook="results/{scale}/logs/figure/{paper}/{figure}.ipynb",
    localrule: is_local("figure")
    resources:
        mem_mb=resource("figure", "mem_mb"),
        runtime=resource("figure", "runtime"),
    params:
        code=param_of("figure", "code"),
    message:
        "Drawing {wildcards.paper} {wildcards.figure}."
    shell:
        "refigure draw {wildcards.paper:q} {wildcards.figure:q} --scale {wildcards.scale:q}"
        " --log {log.notebook:q} > {log.text:q} 2>&1"
