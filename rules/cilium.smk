# The layer that carries Cilium, where the workflow installs it.

from talosmake.render import cilium, revisions
from talosmake.workflow import jobs, prerequisites


# Once per environment; only its control planes have it.
rule cilium_layer:
    input:
        files=of_environment(prerequisites.cilium_files),
    output:
        "rendered_configs/{env}/state/cilium.yaml",
    log:
        "logs/{env}/cilium_layer.log",
    params:
        revision=revisions.CILIUM_LAYER,
        helm=of_environment(cilium.helm_version),
        sources=of_environment(prerequisites.cilium_sources),
    run:
        jobs.run(log, cilium.write_layer, environment_of(wildcards))
