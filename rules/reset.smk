# Taking nodes back to maintenance mode; without confirm= only what would be done is told.

from talosmake.rollout import reset
from talosmake.workflow import jobs


rule reset:
    input:
        administered,
    log:
        f"logs/{SETTINGS.env}/reset.log",
    run:
        jobs.run(log, reset.reset, list(ENVIRONMENTS.values()), SETTINGS)
