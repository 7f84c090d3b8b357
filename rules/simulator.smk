# Simulated nodes: a stand-in for Talos machines, for the demo and the tests.

from talosmake.machines import simulator
from talosmake.workflow import jobs


rule start_simulator:
    output:
        ".simulator/{env}/ready",
    log:
        "logs/{env}/start_simulator.log",
    params:
        nodes=lambda wildcards: simulator.nodes_digest(environment_of(wildcards)),
        left_behind=lambda wildcards: simulator.left_behind(environment_of(wildcards)),
    run:
        jobs.run(log, simulator.start, environment_of(wildcards))


rule simulator_stop:
    log:
        f"logs/{CONFIG.env}/simulator_stop.log",
    run:
        for environment in ENVIRONMENTS.values():
            jobs.run(log, simulator.stop, environment)
