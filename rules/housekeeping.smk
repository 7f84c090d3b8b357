# Looking at what is there, and clearing away what no longer holds.

from talosmake.report import dag, doctor, page, schemas, status
from talosmake.rollout import refresh
from talosmake.workflow import jobs, leftovers, targets


def report_inputs(_):
    return files_of_each(
        lambda environment: targets.reported(
            environment, strict=SETTINGS.strict, live=SETTINGS.live
        )
    )


rule nodes:
    log:
        f"logs/{SETTINGS.env}/nodes.log",
    run:
        for environment in ENVIRONMENTS.values():
            jobs.run(log, status.show_nodes, environment)


rule refresh:
    log:
        f"logs/{SETTINGS.env}/refresh.log",
    run:
        for environment in ENVIRONMENTS.values():
            jobs.run(log, refresh.refresh, environment)


rule prune:
    log:
        f"logs/{SETTINGS.env}/prune.log",
    run:
        for environment in ENVIRONMENTS.values():
            jobs.run(log, leftovers.prune, environment, SETTINGS.confirm)


rule dag:
    log:
        f"logs/{SETTINGS.env}/dag.log",
    run:
        jobs.run(
            log,
            dag.write,
            list(ENVIRONMENTS.values()),
            WORKFLOW,
        )


rule report:
    input:
        report_inputs,
    log:
        f"logs/{SETTINGS.env}/report.log",
    run:
        jobs.run(log, page.write, SETTINGS.live, WORKFLOW, *ENVIRONMENTS.values())


rule doctor:
    log:
        f"logs/{SETTINGS.env}/doctor.log" if ENVIRONMENTS else "logs/doctor.log",
    run:
        jobs.run(log, doctor.show, list(ENVIRONMENTS.values()))


rule schemas:
    log:
        "logs/schemas.log",
    run:
        jobs.run(log, schemas.write)
