# `talosctl validate --mode metal` on every config before it is used for anything.


rule validate_config:
    input:
        "rendered_configs/{env}/{role}-{node}.yaml",
    output:
        "rendered_configs/{env}/state/{role}-{node}.validated",
    log:
        "logs/{env}/{role}-{node}.validate.log",
    params:
        code=code.digest("validate"),
        talosctl=tools.TALOSCTL.pinned,
        sources=sources_of,  # lint looks at them, too
    run:
        jobs.run(
            log,
            validate.validate_config,
            environment_of(wildcards),
            node_of(wildcards),
        )
