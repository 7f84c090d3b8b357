# Which file set each value of a node's config, and what it overrode.

from talosmake.report import explain
from talosmake.workflow import jobs


def explain_inputs(_):
    """The rendered configs of the nodes that are to be explained."""
    only_from_git("explain")
    return files_of_each(
        lambda environment: map(
            environment.paths.config,
            jobs.or_exit(explain.chosen, environment, CONFIG.node),
        )
    )


rule explain:
    input:
        explain_inputs,
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
