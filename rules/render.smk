# One machine config per node, the talosconfig, and apply.sh.

from talosmake.artifact import unpack
from talosmake.base import tools
from talosmake.render import (
    apply_script,
    credentials,
    machine_config,
    revisions,
    sources,
    talosconfig,
)
from talosmake.workflow import jobs, prerequisites


def bundle_of(wildcards):
    return jobs.or_exit(prerequisites.bundle, environment_of(wildcards))


def bundle_is_there(wildcards):
    """The bundle where it only has to be there: its content is a parameter."""
    bundle = bundle_of(wildcards)
    throwaway = environment_of(wildcards).cluster.throwaway
    return bundle if throwaway else ancient(bundle)


def patches_of(wildcards):
    """As inputs, so that Snakemake names what is missing; their content is a parameter."""
    return [ancient(patch) for patch in node_of(wildcards).patches]


def sources_of(wildcards):
    """An artifact says itself what its configs are made of."""
    environment, node = environment_of(wildcards), node_of(wildcards)
    return "" if CONFIG.artifact else sources.of_node(environment, node)


def cilium_of(wildcards):
    return prerequisites.cilium(environment_of(wildcards), node_of(wildcards))


def talosconfig_revision(wildcards):
    return credentials.revision(environment_of(wildcards))


# Deploying an artifact, the configs come from it. Their other parameters make a run without it
# render again.
if CONFIG.artifact:

    rule unpack_config:
        input:
            bundle=bundle_of,
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
            bundle=bundle_is_there,
            patches=patches_of,
            cilium=cilium_of,
        output:
            "rendered_configs/{env}/{role}-{node}.yaml",
        log:
            "logs/{env}/{role}-{node}.render.log",
        params:
            revision=revisions.RENDER,
            talosctl=tools.TALOSCTL.pinned,
            sources=sources_of,
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
        bundle=bundle_of,
    output:
        "rendered_configs/{env}/talosconfig",
    log:
        "logs/{env}/talosconfig.log",
    params:
        revision=revisions.TALOSCONFIG,
        endpoints=lambda wildcards: [
            node.endpoint for node in environment_of(wildcards).control_planes
        ],
        certificate=talosconfig_revision,
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
