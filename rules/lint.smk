# What talosctl lets pass and is a mistake all the same (docs/lint.md). What concerns one node is
# found when its config is validated, and kept beside its marker.

from talosmake.checks import lint
from talosmake.inventory import elsewhere
from talosmake.render import revisions
from talosmake.workflow import jobs, targets


# Says it once, when anything of it is new.
rule lint_environment:
    input:
        markers=of_environment(targets.markers),
        bundles=of_environment(lint.files_of),
    output:
        "rendered_configs/{env}/state/linted",
    log:
        "logs/{env}/lint_environment.log",
    params:
        revision=revisions.LINT,
        sources=of_environment(lint.sources_of),
        strict=CONFIG.strict,
        elsewhere=lambda wildcards: elsewhere.listed(CLASHES[wildcards.env]),
    run:
        jobs.run(
            log,
            lint.lint_environment,
            environment_of(wildcards),
            CONFIG.strict,
        )


# Says all of it at each call.
rule lint:
    input:
        of_each(targets.from_git("lint", targets.markers)),
    log:
        f"logs/{CONFIG.env}/lint.log",
    run:
        jobs.run(log, lint.show, list(ENVIRONMENTS.values()), CONFIG.strict)
