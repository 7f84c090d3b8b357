# Which images of the Image Factory's nodes get; submit=true registers their schematics there.

from talosmake.report import schematics
from talosmake.workflow import jobs


def schematics_inputs(_):
    only_from_git("schematics")
    return []


rule schematics:
    input:
        schematics_inputs,
    log:
        f"logs/{CONFIG.env}/schematics.log",
    run:
        jobs.run(
            log,
            schematics.show,
            list(ENVIRONMENTS.values()),
            CONFIG.submit,
        )
