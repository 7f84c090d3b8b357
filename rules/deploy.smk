# Applying configs to nodes and bootstrapping the cluster. Each job asks the node before it acts, so
# running one again does nothing that is not needed.

from talosmake.rollout import apply, bootstrap, kubeconfig
from talosmake.workflow import jobs


rule apply_controlplane:
    input:
        config="rendered_configs/{env}/controlplane-{node}.yaml",
        validated="rendered_configs/{env}/state/controlplane-{node}.validated",
        vm=vm_of_control_plane,
        first=before_control_plane,
    output:
        "rendered_configs/{env}/state/controlplane-{node}.applied",
    log:
        "logs/{env}/controlplane-{node}.apply.log",
    resources:
        control_plane=lambda wildcards: int(takes_turns(wildcards)),
    params:
        role="controlplane",
        machine=lambda wildcards: machine_of("controlplane", wildcards),
    run:
        jobs.run(
            log,
            apply.apply_config,
            environment_of(wildcards),
            environment_of(wildcards).node(params.role, wildcards.node),
        )


rule apply_worker:
    input:
        config="rendered_configs/{env}/worker-{node}.yaml",
        validated="rendered_configs/{env}/state/worker-{node}.validated",
        vm=vm_of_worker,
        first=before_worker,
    output:
        "rendered_configs/{env}/state/worker-{node}.applied",
    log:
        "logs/{env}/worker-{node}.apply.log",
    resources:
        worker=1,
    params:
        role="worker",
        machine=lambda wildcards: machine_of("worker", wildcards),
    run:
        jobs.run(
            log,
            apply.apply_config,
            environment_of(wildcards),
            environment_of(wildcards).node(params.role, wildcards.node),
        )


rule bootstrap_cluster:
    input:
        first=before_bootstrap,
    output:
        "rendered_configs/{env}/state/bootstrapped",
    log:
        "logs/{env}/bootstrap_cluster.log",
    priority: 10
    run:
        jobs.run(log, bootstrap.bootstrap_cluster, environment_of(wildcards))


# The kubeconfig itself is no output, so that the old one stays until there is a new one.
rule kubeconfig:
    input:
        first=before_kubeconfig,
    output:
        "rendered_configs/{env}/state/kubeconfig",
    log:
        "logs/{env}/kubeconfig.log",
    priority: 10
    params:
        revision=kubeconfig_revision,
    run:
        jobs.run(
            log,
            kubeconfig.write_kubeconfig,
            environment_of(wildcards),
            params.revision,
        )
