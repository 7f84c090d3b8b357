# What differs between Git and the nodes or what was last applied, and between two environments.

from functools import partial

from talosmake.report import diff, promote
from talosmake.workflow import jobs, targets


rule diff:
    input:
        of_each(
            targets.from_git("diff", partial(targets.compared, against=CONFIG.against))
        ),
    log:
        f"logs/{CONFIG.env}/diff.log",
    run:
        jobs.run(
            log,
            diff.show,
            list(ENVIRONMENTS.values()),
            CONFIG.node,
            CONFIG.against,
        )


rule promote:
    input:
        of_each(targets.from_git("promote", partial(targets.promoted, config=CONFIG))),
    log:
        "logs/promote.log",
    run:
        jobs.run(log, promote.show, *ENVIRONMENTS.values())
