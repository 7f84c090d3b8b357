# What differs between Git and the nodes or what was last applied, and between two environments.

from talosmake.inventory import settings
from talosmake.report import diff, promote
from talosmake.workflow import jobs, targets


def diff_inputs(_):
    only_from_git("diff")
    return files_of_each(
        lambda environment: targets.compared(environment, CONFIG.against)
    )


def promote_inputs(_):
    only_from_git("promote")
    if not CONFIG.promotes:
        jobs.exit_with(settings.nothing_to_promote())
    return files_of_each(targets.configs)


rule diff:
    input:
        diff_inputs,
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
        promote_inputs,
    log:
        "logs/promote.log",
    run:
        jobs.run(log, promote.show, *ENVIRONMENTS.values())
