# Taking nodes back to maintenance mode; without confirm= only what would be done is told.

from talosmake.rollout import reset
from talosmake.workflow import jobs, targets


rule reset:
    input:
        of_each(targets.administered),
    log:
        f"logs/{CONFIG.env}/reset.log",
    run:
        jobs.run(log, reset.reset, list(ENVIRONMENTS.values()), CONFIG)
