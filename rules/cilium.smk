# The layer that carries Cilium, where the workflow installs it.

from talosmake.render import cilium, cilium_network, revisions, sources
from talosmake.workflow import jobs


def cilium_files_of(wildcards):
    return jobs.or_exit(cilium.files_of, environment_of(wildcards))


def cilium_inputs_of(wildcards):
    return [ancient(file) for file in cilium_files_of(wildcards)]


def cilium_sources_of(wildcards):
    environment = environment_of(wildcards)
    digest = sources.of_cilium(environment, cilium_files_of(wildcards))
    # The rest of the control planes' patches makes no other layer.
    return f"{digest} {cilium_network.planned_as_text(environment)}"


# Once per environment; only its control planes have it.
rule cilium_layer:
    input:
        files=cilium_inputs_of,
    output:
        "rendered_configs/{env}/state/cilium.yaml",
    log:
        "logs/{env}/cilium_layer.log",
    params:
        revision=revisions.CILIUM_LAYER,
        helm=lambda wildcards: cilium.helm_version(environment_of(wildcards)),
        sources=cilium_sources_of,
    run:
        jobs.run(log, cilium.write_layer, environment_of(wildcards))
