rule train:
    input:
        inputs_of("train"),
    output:
        history=ensure("results/{scale}/packs/{pack}/history.parquet", non_empty=True),
        points="results/{scale}/packs/{pack}/points.safetensors",
        arrays="results/{scale}/packs/{pack}/arrays.safetensors",
        predictions="results/{scale}/packs/{pack}/predictions.safetensors",
        run="results/{scale}/packs/{pack}/run.json",
    log:
        "results/{scale}/logs/train/{pack}.log",
    localrule: is_local("train")
    threads: 1
    resources:
        gpu=resource("train", "gpu", experiment=True),
        mem_mb=resource("train", "mem_mb", experiment=True),
        runtime=resource("train", "runtime", experiment=True),
    params:
        runs=param_of("train", "runs"),
        code=param_of("train", "code"),
    message:
        "Training pack {wildcards.pack}."
    shell:
        "refigure train {wildcards.pack:q} --scale {wildcards.scale:q} > {log:q} 2>&1"


rule index:
    input:
        inputs_of("index"),
    output:
        "results/{scale}/experiments/{experiment}.tsv",
    log:
        "results/{scale}/logs/index/{experiment}.log",
    localrule: is_local("index")
    message:
        "Listing the runs of {wildcards.experiment}."
    shell:
        "refigure index {wildcards.experiment:q} --scale {wildcards.scale:q} --to {output:q}"
        " > {log:q} 2>&1"
