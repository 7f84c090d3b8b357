# Applying configs to nodes and bootstrapping the cluster. Each job asks the node before it acts, so
# running one again does nothing that is not needed.

from talosmake.report import status
from talosmake.rollout import apply, bootstrap, kubeconfig
from talosmake.workflow import jobs, prerequisites


rule apply_controlplane:
    input:
        config="rendered_configs/{env}/controlplane-{node}.yaml",
        validated="rendered_configs/{env}/state/controlplane-{node}.validated",
        vm=of_node(prerequisites.vm, role="controlplane"),
        first=of_node(prerequisites.of_control_plane, role="controlplane"),
    output:
        "rendered_configs/{env}/state/controlplane-{node}.applied",
    log:
        "logs/{env}/controlplane-{node}.apply.log",
    resources:
        control_plane=of_node(prerequisites.one_at_a_time, role="controlplane"),
    params:
        role="controlplane",
        machine=lambda wildcards: status.machine_of(node_of(wildcards, "controlplane")),
    run:
        jobs.run(
            log,
            apply.apply_config,
            environment_of(wildcards),
            node_of(wildcards, "controlplane"),
        )


rule apply_worker:
    input:
        config="rendered_configs/{env}/worker-{node}.yaml",
        validated="rendered_configs/{env}/state/worker-{node}.validated",
        vm=of_node(prerequisites.vm, role="worker"),
        first=of_node(prerequisites.of_worker, role="worker"),
    output:
        "rendered_configs/{env}/state/worker-{node}.applied",
    log:
        "logs/{env}/worker-{node}.apply.log",
    resources:
        worker=1,
    params:
        role="worker",
        machine=lambda wildcards: status.machine_of(node_of(wildcards, "worker")),
    run:
        jobs.run(
            log,
            apply.apply_config,
            environment_of(wildcards),
            node_of(wildcards, "worker"),
        )


rule bootstrap_cluster:
    input:
        first=of_environment(prerequisites.of_bootstrap),
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
        first=of_environment(prerequisites.of_kubeconfig),
    output:
        "rendered_configs/{env}/state/kubeconfig",
    log:
        "logs/{env}/kubeconfig.log",
    priority: 10
    params:
        revision=of_environment(kubeconfig.revision),
    run:
        jobs.run(
            log,
            kubeconfig.write_kubeconfig,
            environment_of(wildcards),
            params.revision,
        )
