# What differs between Git and the nodes or what was last applied, and between two environments.

from talosmake.report import diff, promote
from talosmake.workflow import jobs


rule diff:
    input:
        compared,
    log:
        f"logs/{SETTINGS.env}/diff.log",
    run:
        jobs.run(
            log,
            diff.show,
            list(ENVIRONMENTS.values()),
            SETTINGS.node,
            SETTINGS.against,
        )


rule promote:
    input:
        promoted,
    log:
        "logs/promote.log",
    run:
        jobs.run(log, promote.show, *ENVIRONMENTS.values())
