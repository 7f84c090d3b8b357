# What talosctl lets pass and is a mistake all the same (docs/lint.md). What concerns one node is
# found when its config is validated, and kept beside its marker.

from talosmake.checks import lint
from talosmake.inventory import elsewhere, places
from talosmake.render import revisions
from talosmake.workflow import jobs, targets


def markers_of(wildcards):
    return targets.markers(environment_of(wildcards))


def lint_files_of(wildcards):
    """What says who can decrypt, and all bundles: two of them may be the same."""
    environment = environment_of(wildcards)
    rules = [places.SOPS_RULES] if places.SOPS_RULES.exists() else []
    bundles = [environment.bundle, *lint.other_bundles(environment)]
    return rules if environment.cluster.throwaway else [*rules, *bundles]


def lint_sources_of(wildcards):
    return jobs.or_exit(lint.sources_of, environment_of(wildcards))


def lint_inputs(_):
    only_from_git("lint")
    return files_of_each(targets.markers)


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
        lint_inputs,
    log:
        f"logs/{CONFIG.env}/lint.log",
    run:
        jobs.run(log, lint.show, list(ENVIRONMENTS.values()), CONFIG.strict)
