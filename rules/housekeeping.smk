# Looking at what is there, and clearing away what no longer holds.

from functools import partial

from talosmake.report import dag, doctor, page, schemas, status
from talosmake.rollout import refresh
from talosmake.workflow import jobs, leftovers, targets


rule nodes:
    log:
        f"logs/{CONFIG.env}/nodes.log",
    run:
        for environment in ENVIRONMENTS.values():
            jobs.run(log, status.show_nodes, environment)


rule refresh:
    log:
        f"logs/{CONFIG.env}/refresh.log",
    run:
        for environment in ENVIRONMENTS.values():
            jobs.run(log, refresh.refresh, environment)


rule prune:
    log:
        f"logs/{CONFIG.env}/prune.log",
    run:
        for environment in ENVIRONMENTS.values():
            jobs.run(log, leftovers.prune, environment, CONFIG.confirm)


rule dag:
    log:
        f"logs/{CONFIG.env}/dag.log",
    run:
        jobs.run(
            log,
            dag.write,
            list(ENVIRONMENTS.values()),
            WORKFLOW,
        )


rule report:
    input:
        of_each(partial(targets.reported, strict=CONFIG.strict, live=CONFIG.live)),
    log:
        f"logs/{CONFIG.env}/report.log",
    run:
        jobs.run(log, page.write, CONFIG.live, WORKFLOW, *ENVIRONMENTS.values())


rule doctor:
    log:
        f"logs/{CONFIG.env}/doctor.log" if ENVIRONMENTS else "logs/doctor.log",
    run:
        jobs.run(log, doctor.show, list(ENVIRONMENTS.values()))


rule schemas:
    log:
        "logs/schemas.log",
    run:
        jobs.run(log, schemas.write)
