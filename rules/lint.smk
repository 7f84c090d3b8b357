# What talosctl lets pass and is a mistake all the same (docs/lint.md). What concerns one node is
# found when its config is validated, and kept beside its marker.

from talosmake.checks import lint
from talosmake.inventory import elsewhere
from talosmake.render import revisions
from talosmake.workflow import jobs


# Says it once, when anything of it is new.
rule lint_environment:
    input:
        markers=markers_of,
        bundles=lint_files_of,
    output:
        "rendered_configs/{env}/state/linted",
    log:
        "logs/{env}/lint_environment.log",
    params:
        revision=revisions.LINT,
        sources=lint_sources_of,
        strict=SETTINGS.strict,
        elsewhere=lambda wildcards: elsewhere.told(CLASHES[wildcards.env]),
    run:
        jobs.run(
            log,
            lint.lint_environment,
            environment_of(wildcards),
            SETTINGS.strict,
        )


# Says all of it at each call.
rule lint:
    input:
        looked_at,
    log:
        f"logs/{SETTINGS.env}/lint.log",
    run:
        jobs.run(log, lint.show, list(ENVIRONMENTS.values()), SETTINGS.strict)
