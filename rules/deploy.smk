# Applying configs to nodes and bootstrapping the cluster. Each job asks the node before it acts, so
# running one again does nothing that is not needed.

from talosmake.report import status
from talosmake.rollout import apply, bootstrap, kubeconfig
from talosmake.workflow import jobs, prerequisites


def control_plane_of(wildcards):
    return environment_of(wildcards).node("controlplane", wildcards.node)


def worker_of(wildcards):
    return environment_of(wildcards).node("worker", wildcards.node)


def before_control_plane(wildcards):
    environment, node = environment_of(wildcards), control_plane_of(wildcards)
    return prerequisites.of_control_plane(environment, node)


def before_worker(wildcards):
    environment, node = environment_of(wildcards), worker_of(wildcards)
    return prerequisites.of_worker(environment, node)


def one_at_a_time(wildcards):
    environment, node = environment_of(wildcards), control_plane_of(wildcards)
    return int(prerequisites.one_at_a_time(environment, node))


def before_bootstrap(wildcards):
    return prerequisites.of_bootstrap(environment_of(wildcards))


def before_kubeconfig(wildcards):
    return prerequisites.of_kubeconfig(environment_of(wildcards))


def kubeconfig_revision(wildcards):
    return kubeconfig.revision(environment_of(wildcards))


rule apply_controlplane:
    input:
        config="rendered_configs/{env}/controlplane-{node}.yaml",
        validated="rendered_configs/{env}/state/controlplane-{node}.validated",
        vm=lambda wildcards: prerequisites.vm(
            environment_of(wildcards), control_plane_of(wildcards)
        ),
        first=before_control_plane,
    output:
        "rendered_configs/{env}/state/controlplane-{node}.applied",
    log:
        "logs/{env}/controlplane-{node}.apply.log",
    resources:
        control_plane=one_at_a_time,
    params:
        role="controlplane",
        machine=lambda wildcards: status.machine_of(control_plane_of(wildcards)),
    run:
        jobs.run(
            log,
            apply.apply_config,
            environment_of(wildcards),
            control_plane_of(wildcards),
        )


rule apply_worker:
    input:
        config="rendered_configs/{env}/worker-{node}.yaml",
        validated="rendered_configs/{env}/state/worker-{node}.validated",
        vm=lambda wildcards: prerequisites.vm(
            environment_of(wildcards), worker_of(wildcards)
        ),
        first=before_worker,
    output:
        "rendered_configs/{env}/state/worker-{node}.applied",
    log:
        "logs/{env}/worker-{node}.apply.log",
    resources:
        worker=1,
    params:
        role="worker",
        machine=lambda wildcards: status.machine_of(worker_of(wildcards)),
    run:
        jobs.run(
            log,
            apply.apply_config,
            environment_of(wildcards),
            worker_of(wildcards),
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
