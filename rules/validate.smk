# `talosctl validate --mode metal` on every config before it is used for anything.

from talosmake.checks import validate
from talosmake.render import revisions
from talosmake.workflow import jobs


rule validate_config:
    input:
        "rendered_configs/{env}/{role}-{node}.yaml",
    output:
        "rendered_configs/{env}/state/{role}-{node}.validated",
    log:
        "logs/{env}/{role}-{node}.validate.log",
    params:
        revision=revisions.VALIDATE,
        talosctl=lambda wildcards: environment_of(wildcards).cluster.talosctl,
    run:
        jobs.run(
            log,
            validate.validate_config,
            environment_of(wildcards),
            node_of(wildcards),
        )
