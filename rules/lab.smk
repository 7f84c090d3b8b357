# A lab: real Talos nodes in QEMU on this machine, for the demo and the tests.

from talosmake.machines import lab
from talosmake.workflow import jobs


rule start_lab:
    output:
        ".lab/{env}/ready",
    log:
        "logs/{env}/start_lab.log",
    params:
        nodes=lambda wildcards: lab.nodes_digest(environment_of(wildcards)),
        revision=lambda wildcards: lab.revision(environment_of(wildcards)),
    run:
        jobs.run(log, lab.start, environment_of(wildcards), params.revision)


rule lab_stop:
    log:
        f"logs/{CONFIG.env}/lab_stop.log",
    run:
        for environment in ENVIRONMENTS.values():
            jobs.run(log, lab.stop, environment)
