# Virtual machines: network and storage of the environment, then one machine a node with its
# reservation, its disks and its domain. What is due is read from libvirt, once a run; the markers
# only say what was done.

from talosmake.machines import destroy, make, session
from talosmake.workflow import jobs


rule make_network:
    output:
        "rendered_configs/{env}/state/network",
    log:
        "logs/{env}/make_network.log",
    params:
        revision=of_environment(session.network_revision, CONFIG.confirm),
    run:
        jobs.run(
            log,
            make.make_network,
            environment_of(wildcards),
            CONFIG.confirm,
            params.revision,
        )


rule make_storage:
    # After the network, which looks first whether all that is needed is there.
    input:
        "rendered_configs/{env}/state/network",
    output:
        "rendered_configs/{env}/state/storage",
    log:
        "logs/{env}/make_storage.log",
    params:
        revision=of_environment(session.storage_revision, CONFIG.confirm),
    run:
        jobs.run(
            log,
            make.make_storage,
            environment_of(wildcards),
            CONFIG.confirm,
            params.revision,
        )


rule make_vm:
    input:
        network="rendered_configs/{env}/state/network",
        storage="rendered_configs/{env}/state/storage",
    output:
        "rendered_configs/{env}/state/{role}-{node}.vm",
    log:
        "logs/{env}/{role}-{node}.vm.log",
    params:
        revision=of_node(session.machine_revision, CONFIG.confirm),
    run:
        jobs.run(
            log,
            make.make_machine,
            environment_of(wildcards),
            node_of(wildcards),
            CONFIG.confirm,
            params.revision,
        )


rule vms_plan:
    log:
        f"logs/{CONFIG.env}/vms_plan.log",
    run:
        for environment in ENVIRONMENTS.values():
            jobs.run(log, make.show_plan, environment, CONFIG.confirm)


rule vms_stop:
    log:
        f"logs/{CONFIG.env}/vms_stop.log",
    run:
        for environment in ENVIRONMENTS.values():
            jobs.run(log, destroy.stop, environment, CONFIG.node)


rule vms_destroy:
    log:
        f"logs/{CONFIG.env}/vms_destroy.log",
    run:
        for environment in ENVIRONMENTS.values():
            jobs.run(
                log,
                destroy.destroy,
                environment,
                CONFIG.confirm,
                disks=CONFIG.disks,
            )
