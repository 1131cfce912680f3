rule claim:
    input:
        inputs_of("claim"),
    output:
        "results/{scale}/claims/{paper}/{claim}.json",
    log:
        "results/{scale}/logs/claim/{paper}/{claim}.log",
    localrule: is_local("claim")
    params:
        code=param_of("claim", "code"),
    message:
        "Deciding {wildcards.paper} {wildcards.claim}."
    shell:
        "refigure claim {wildcards.paper:q} {wildcards.claim:q} --scale {wildcards.scale:q}"
        " > {log:q} 2>&1"


rule verdicts:
    input:
        inputs_of("verdicts"),
    output:
        "results/{scale}/claims/{paper}.json",
    log:
        "results/{scale}/logs/verdicts/{paper}.log",
    localrule: is_local("verdicts")
    message:
        "Joining the verdicts of {wildcards.paper}."
    shell:
        "refigure verdicts {wildcards.paper:q} --scale {wildcards.scale:q} > {log:q} 2>&1"
