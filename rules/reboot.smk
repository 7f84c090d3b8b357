# Rebooting one node, so that what it was given is in force.

from talosmake.rollout import reboot
from talosmake.workflow import jobs, targets


rule reboot:
    input:
        of_each(targets.administered),
    log:
        f"logs/{CONFIG.env}/reboot.log",
    run:
        jobs.run(log, reboot.reboot, list(ENVIRONMENTS.values()), CONFIG)
