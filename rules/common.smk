# Reads the environments; what depends on what stands in the other files. Runs again in every process
# that Snakemake starts, so it reads files and does nothing else.

import sys
from pathlib import Path

# Of this file, and not of the Snakefile that a person's repository includes it by. All else that is
# no documented interface of Snakemake's is behind talosmake.workflow.snakemake, which is found by this.
_root = (
    Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).resolve().parent
)
# A clone's own code, or that of the wheel which brought this workflow.
_code = _root / "scripts"
_code = _code if (_code / "talosmake").is_dir() else _root.parents[1]
if str(_code) not in sys.path:
    sys.path.insert(0, str(_code))

import talosmake

# Snakemake has the logger plugin of its Python environment by now, and with it that one's code.
if (_runs := Path(talosmake.__file__).resolve().parents[1]) != _code:
    _its = _runs.parent if _runs.name == "scripts" else _runs / "talosmake/program"
    print(
        f"Error: {sys.prefix} is not the Python environment of {_root}: the code of {_its} would "
        f"run in its place\n  -> Run 'make setup' in {_root}, and use {_root}/.venv/bin/snakemake; "
        f"or run what belongs to it:  snakemake -s {_its}/Snakefile",
        file=sys.stderr,
    )
    sys.exit(1)

from talosmake.workflow import origin

# Before anything is imported that may be missing.
origin.check(_root)

from talosmake.base import progress
from talosmake.inventory import elsewhere, named, settings
from talosmake.report import dag
from talosmake.workflow import effects, every, jobs, lifecycle, targets
from talosmake.workflow import snakemake as internals

jobs.or_exit(lifecycle.prepare, workflow)
CONFIG = jobs.or_exit(settings.read, config)
if internals.is_main_process(workflow) and every.is_meant(CONFIG, sys.argv):
    progress.leave_screen(internals.queue_listener(workflow))
    names = jobs.or_exit(settings.selected, CONFIG)
    sys.exit(
        jobs.or_exit(every.run, sys.argv, names, internals.main_snakefile(workflow))
    )

WORKFLOW = dag.Workflow(internals.main_snakefile(workflow), CONFIG.given)
ENVIRONMENTS = jobs.or_exit(lifecycle.environments, CONFIG, sys.argv)
internals.limit(workflow, settings.limits(CONFIG))

# What an environment has in common with others, and must not.
CLASHES = {
    name: elsewhere.clashes(environment) for name, environment in ENVIRONMENTS.items()
}
# The rules of this run that are more than looking; known when it starts.
WORK = set()

if internals.is_main_process(workflow):
    jobs.or_exit(lifecycle.announce, ENVIRONMENTS, CLASHES)
else:
    lifecycle.join(ENVIRONMENTS)


wildcard_constraints:
    env="|".join(ENVIRONMENTS) or "none",
    role="controlplane|worker",
    node="[a-z0-9_-]+",


onstart:
    jobs.or_exit(internals.start_at_once, workflow)
    due = jobs.or_exit(internals.due_rules, workflow)
    WORK.update(jobs.or_exit(lifecycle.begin, ENVIRONMENTS, due))


onsuccess:
    if effects.is_summed_up(WORK):
        progress.settle(internals.queue_listener(workflow))
        lifecycle.sum_up(ENVIRONMENTS, WORK)
    jobs.end()


def environment_of(wildcards):
    return ENVIRONMENTS[wildcards.env]


def node_of(wildcards, role=""):
    role = role or wildcards.role
    return jobs.or_exit(named.of_role, environment_of(wildcards), role, wildcards.node)


# What follows makes functions of an environment, or of a node, those that Snakemake asks for inputs
# and parameters. They are asked for the targets and jobs of this run alone.


def of_each(files):
    return lambda _: jobs.or_exit(targets.of_each, ENVIRONMENTS.values(), files)


def of_environment(function, *args):
    return lambda wildcards: jobs.or_exit(function, environment_of(wildcards), *args)


def of_node(function, *args, role=""):
    return lambda wildcards: jobs.or_exit(
        function, environment_of(wildcards), node_of(wildcards, role), *args
    )
