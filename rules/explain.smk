# Which file set each value of a node's config, and what it overrode.

from talosmake.report import explain
from talosmake.workflow import jobs


rule explain:
    input:
        explained,
    log:
        f"logs/{SETTINGS.env}/explain.log",
    run:
        jobs.run(
            log,
            explain.show,
            list(ENVIRONMENTS.values()),
            SETTINGS.node,
            SETTINGS.path,
        )
