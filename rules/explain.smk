# Which file set each value of a node's config, and what it overrode.

from functools import partial

from talosmake.report import explain
from talosmake.workflow import jobs, targets


rule explain:
    input:
        of_each(
            targets.from_git("explain", partial(targets.explained, name=CONFIG.node))
        ),
    log:
        f"logs/{CONFIG.env}/explain.log",
    run:
        jobs.run(
            log,
            explain.show,
            list(ENVIRONMENTS.values()),
            CONFIG.node,
            CONFIG.path,
        )
