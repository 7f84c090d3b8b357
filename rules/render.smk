# One machine config per node, the talosconfig, and apply.sh.

from talosmake.artifact import unpack
from talosmake.render import (
    apply_script,
    credentials,
    machine_config,
    revisions,
    sources,
    talosconfig,
)
from talosmake.workflow import jobs, prerequisites

# Deploying an artifact, the configs come from it. Their other parameters make a run without it
# render again.
if CONFIG.artifact:

    rule unpack_config:
        input:
            bundle=of_environment(prerequisites.bundle),
            artifact=CONFIG.artifact,
        output:
            "rendered_configs/{env}/{role}-{node}.yaml",
        log:
            "logs/{env}/{role}-{node}.unpack.log",
        params:
            sha256=lambda wildcards: environment_of(wildcards).artifact.sha256,
        run:
            jobs.run(
                log,
                unpack.write_config,
                environment_of(wildcards),
                node_of(wildcards),
            )

else:

    rule render_config:
        input:
            bundle=of_environment(prerequisites.bundle_is_there),
            patches=of_node(prerequisites.patches),
            cilium=of_node(prerequisites.cilium),
        output:
            "rendered_configs/{env}/{role}-{node}.yaml",
        log:
            "logs/{env}/{role}-{node}.render.log",
        params:
            revision=revisions.RENDER,
            talosctl=lambda wildcards: environment_of(wildcards).cluster.talosctl,
            sources=of_node(sources.of_node),
        run:
            jobs.run(
                log,
                machine_config.write_config,
                environment_of(wildcards),
                node_of(wildcards),
            )


# The client certificate itself, below state/, is no output: Snakemake would remove one that is still
# valid before there is a new one. Parameters tell that one has to be made.
rule talosconfig:
    input:
        bundle=of_environment(prerequisites.bundle),
    output:
        "rendered_configs/{env}/talosconfig",
    log:
        "logs/{env}/talosconfig.log",
    params:
        revision=revisions.TALOSCONFIG,
        endpoints=lambda wildcards: [
            node.endpoint for node in environment_of(wildcards).control_planes
        ],
        certificate=of_environment(credentials.revision),
    run:
        jobs.run(
            log,
            talosconfig.write_talosconfig,
            environment_of(wildcards),
            params.certificate,
        )


rule apply_script:
    output:
        "rendered_configs/{env}/apply.sh",
    log:
        "logs/{env}/apply_script.log",
    params:
        revision=revisions.APPLY_SCRIPT,
        facts=lambda wildcards: apply_script.facts_digest(environment_of(wildcards)),
    run:
        jobs.run(log, apply_script.write_apply_script, environment_of(wildcards))
