# Which images of the Image Factory's nodes get; submit=true registers their schematics there.

from talosmake.report import schematics
from talosmake.workflow import jobs, targets


rule schematics:
    input:
        of_each(targets.from_git("schematics", targets.nothing)),
    log:
        f"logs/{CONFIG.env}/schematics.log",
    run:
        jobs.run(
            log,
            schematics.show,
            list(ENVIRONMENTS.values()),
            CONFIG.submit,
        )
