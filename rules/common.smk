# Reads the environments and says which files each goal is made of. Runs again in every process that
# Snakemake starts, so it reads files and does nothing else.

import sys
from pathlib import Path

# Of this file, and not of the Snakefile that a person's repository includes it by.
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

from snakemake.settings.enums import Quietness

from talosmake.artifact import pack
from talosmake.base import files, progress, streams, wait
from talosmake.checks import lint, lint_rules
from talosmake.inventory import elsewhere, locks, places, settings
from talosmake.machines import lab, session, simulator
from talosmake.render import cilium, cilium_network, credentials, sources
from talosmake.report import dag, explain, journal, status
from talosmake.rollout import kubeconfig
from talosmake.secrets import bundles, create
from talosmake.workflow import every, jobs, leftovers, targets
from talosmake.inventory.model import Goal

wait.stop_waiting_on_interrupt()
# The logger plugin does so as well, for what is shown before this; it can be switched off.
streams.outlive_readers()
if Quietness.ALL in (workflow.output_settings.quiet or ()) and not workflow.dryrun:
    progress.silence()

SETTINGS = jobs.or_exit(settings.read, config)
if workflow.is_main_process and every.is_meant(SETTINGS, sys.argv):
    progress.leave_screen(workflow.logger_manager.queue_listener)
    names = jobs.or_exit(settings.selected, SETTINGS)
    sys.exit(jobs.or_exit(every.run, sys.argv, names, Path(workflow.main_snakefile)))

WORKFLOW = dag.Workflow(Path(workflow.main_snakefile), SETTINGS.given)
ENVIRONMENTS = {
    name: jobs.or_exit(
        pack.attached,
        jobs.or_exit(settings.environment, SETTINGS, name),
        SETTINGS.artifact,
        SETTINGS.strict,
    )
    for name in jobs.or_exit(targets.environments, SETTINGS, sys.argv)
}
# What --resources says on the command line counts.
for _name, _limit in settings.limits(SETTINGS).items():
    if _name not in workflow.global_resources:
        workflow.global_resources[_name] = _limit

for _environment in ENVIRONMENTS.values():
    jobs.or_exit(lint_rules.switched_off, _environment)
    jobs.or_exit(pack.recipients, _environment)
    if _environment.artifact:
        # Before anything that it says is told, or done.
        jobs.or_exit(pack.check_seal, _environment, _environment.artifact)

# What an environment has in common with others, and must not.
CLASHES = {
    name: elsewhere.clashes(environment) for name, environment in ENVIRONMENTS.items()
}

if workflow.is_main_process:
    for _environment in ENVIRONMENTS.values():
        jobs.or_exit(leftovers.warn_of_leftovers, _environment)
        jobs.or_exit(elsewhere.warn_of, _environment, CLASHES[_environment.name])
        jobs.or_exit(pack.tell, _environment)
else:
    for _environment in ENVIRONMENTS.values():
        journal.join(_environment.name)


wildcard_constraints:
    env="|".join(ENVIRONMENTS) or "none",
    role="controlplane|worker",
    node="[a-z0-9_-]+",


# Rules that change nothing, and the others that this run has jobs of.
LOOKING = {
    "nodes",
    "vms_plan",
    "lint",
    "explain",
    "diff",
    "promote",
    "schemas",
    "doctor",
    "dag",
    "report",
    "artifact_check",
}
# Rules that change what runs on machines, or make them.
TOUCHING = {
    "apply_controlplane",
    "apply_worker",
    "bootstrap_cluster",
    "reset",
    "make_network",
    "make_storage",
    "make_vm",
    "start_simulator",
    "start_lab",
}
# After them nodes have what is in Git, so far as they were to.
DEPLOYS = {
    "up",
    "apply",
    "bootstrap",
    "deploy",
    "apply_controlplane",
    "apply_worker",
    "bootstrap_cluster",
}
# After them there is nothing to sum up.
STOPS = {"simulator_stop", "lab_stop", "vms_stop", "vms_destroy"}
WORK = set()


onstart:
    wait.end_as_on_interrupt()
    if Path(".snakemake").is_dir():
        jobs.or_exit(files.ignore_all, Path(".snakemake"))
    # Made for remote executors: here its timers would hold up the end of each run by a second and
    # have all that is ready looked through again and again.
    if workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None
    due = {job.rule.name for job in workflow.persistence.dag.needrun_jobs()}
    # Looking does not disturb a run that is at work.
    WORK.update(due - LOOKING)
    if due & TOUCHING:
        for environment in ENVIRONMENTS.values():
            jobs.or_exit(elsewhere.check, environment)
    if WORK:
        for environment in ENVIRONMENTS.values():
            jobs.or_exit(
                jobs.lock_environment, environment.name, environment.paths.state
            )
            jobs.or_exit(leftovers.remove_temporary_files, environment)
            jobs.or_exit(locks.begin_roll_out, environment)
            # What a report brings up to date is not the run that it tells of, where there is one.
            if not ("report" in due and journal.path_of(environment.name).exists()):
                jobs.or_exit(journal.begin, environment.name)


onsuccess:
    if WORK - STOPS:
        progress.settle(workflow.logger_manager.queue_listener)
        for environment in ENVIRONMENTS.values():
            deployed = has_deployed(environment)
            print(status.summary(environment, deployed=deployed))
    jobs.end()


def has_deployed(environment):
    """Whether this run was to bring its nodes what is in Git."""
    goals = (Goal.APPLIED, Goal.BOOTSTRAPPED)
    return bool(WORK & DEPLOYS) or (
        "all" in WORK and environment.settings.goal in goals
    )


def environment_of(wildcards):
    return ENVIRONMENTS[wildcards.env]


def node_of(wildcards):
    return ENVIRONMENTS[wildcards.env].node(wildcards.role, wildcards.node)


def bundle_of(wildcards):
    """The bundle as an input; where there is none, the way to one instead of 'missing input'."""
    environment = environment_of(wildcards)
    if environment.cluster.throwaway:
        return create.throwaway_marker(environment)
    if not environment.bundle.exists():
        jobs.exit_with(bundles.missing_bundle(environment))
    return environment.bundle


def machine_files(environment):
    """What must run before nodes can be reached: nothing, where they are real machines."""
    if environment.cluster.simulated:
        return [simulator.ready_file(environment)]
    return [lab.ready_file(environment)] if environment.cluster.lab else []


def vm_of(wildcards, role):
    """The machine that a config is applied to, where it is a virtual one."""
    environment = environment_of(wildcards)
    node = environment.node(role, wildcards.node)
    return environment.paths.vm(node) if environment.vms else []


def machine_of(role, wildcards):
    """Which machine has to have a config: another one has none, though the config is the same."""
    return status.machine_of(environment_of(wildcards).node(role, wildcards.node))


def vm_of_control_plane(wildcards):
    return vm_of(wildcards, "controlplane")


def vm_of_worker(wildcards):
    return vm_of(wildcards, "worker")


def network_generation(wildcards):
    environment = environment_of(wildcards)
    return jobs.or_exit(session.network_revision, environment, SETTINGS.confirm)


def storage_generation(wildcards):
    environment = environment_of(wildcards)
    return jobs.or_exit(session.storage_revision, environment, SETTINGS.confirm)


def vm_generation(wildcards):
    environment, node = environment_of(wildcards), node_of(wildcards)
    return jobs.or_exit(session.machine_revision, environment, node, SETTINGS.confirm)


def bundle_there(wildcards):
    """The bundle where it only has to be there: its content is a parameter."""
    bundle = bundle_of(wildcards)
    throwaway = environment_of(wildcards).cluster.throwaway
    return bundle if throwaway else ancient(bundle)


def patches_of(wildcards):
    """As inputs, so that Snakemake names what is missing; their content is a parameter."""
    return [ancient(patch) for patch in node_of(wildcards).patches]


def cilium_of(wildcards):
    """The layer that carries Cilium, for control planes where the workflow installs it."""
    environment = environment_of(wildcards)
    carries = environment.cilium and wildcards.role == "controlplane"
    return environment.paths.cilium if carries else []


def sources_of(wildcards):
    """An artifact says itself what its configs are made of."""
    environment, node = environment_of(wildcards), node_of(wildcards)
    return "" if SETTINGS.artifact else sources.of_node(environment, node)


def cilium_sources_of(wildcards):
    environment = environment_of(wildcards)
    digest = sources.of_cilium(environment, cilium_files_of(wildcards))
    # The rest of the control planes' patches makes no other layer.
    return f"{digest} {cilium_network.planned_as_text(environment)}"


def cilium_files_of(wildcards):
    return jobs.or_exit(cilium.files_of, environment_of(wildcards))


def cilium_inputs_of(wildcards):
    return [ancient(file) for file in cilium_files_of(wildcards)]


def lint_sources_of(wildcards):
    return jobs.or_exit(lint.sources_of, environment_of(wildcards))


def lint_files_of(wildcards):
    """What says who can decrypt, and all bundles: two of them may be the same."""
    environment = environment_of(wildcards)
    rules = [places.SOPS_RULES] if places.SOPS_RULES.exists() else []
    bundles = [environment.bundle, *lint.other_bundles(environment)]
    return rules if environment.cluster.throwaway else [*rules, *bundles]


def before_control_plane(wildcards):
    environment = environment_of(wildcards)
    node = environment.node("controlplane", wildcards.node)
    return there_first(environment, node, before_apply(environment))


def before_worker(wildcards):
    """A worker has its certificate from a control plane; where the endpoint is a VIP it may find
    one only once etcd runs, so bootstrap must never wait behind workers."""
    environment = environment_of(wildcards)
    node = environment.node("worker", wildcards.node)
    applied = map(environment.paths.applied, environment.control_planes)
    return there_first(environment, node, [*before_apply(environment), *applied])


def before_apply(environment):
    """Nothing is applied before all configs were looked at together; an artifact's were before.

    Two nodes with one name are an error, whatever lint is told; with strict, all it finds is one.
    """
    paths = environment.paths
    linted = [] if SETTINGS.artifact else [paths.linted]
    return [paths.talosconfig, *machine_files(environment), *linted]


def there_first(environment, node, files):
    """What has to be there before a node is applied, and is no reason to apply it.

    Behind a job that runs, Snakemake does not look at jobs that only `ancient` files lead to, not
    even where their own inputs are newer. So a node that has to be applied has them as they are.
    """
    if status.is_stale(environment, node):
        return files
    return [ancient(file) for file in files]


def markers_of(wildcards):
    environment = environment_of(wildcards)
    return [environment.paths.validated(node) for node in environment.nodes]


def takes_turns(wildcards):
    """One at a time once etcd runs; all at once before, and beside them those that join it."""
    environment = environment_of(wildcards)
    node = environment.node("controlplane", wildcards.node)
    return (
        environment.paths.bootstrapped.exists()
        and environment.paths.applied(node).exists()
    )


def before_bootstrap(wildcards):
    """No reason to bootstrap; see `there_first`."""
    environment = environment_of(wildcards)
    paths = environment.paths
    files = [paths.talosconfig, *map(paths.applied, environment.control_planes)]
    return (
        files if not paths.bootstrapped.exists() else [ancient(file) for file in files]
    )


def before_kubeconfig(wildcards):
    """No reason to fetch the kubeconfig; one that has to be fetched is, when they are there."""
    environment = environment_of(wildcards)
    paths = environment.paths
    files = [paths.talosconfig, *map(paths.applied, environment.control_planes)]
    files.append(paths.bootstrapped)
    return (
        files if kubeconfig.reason(environment) else [ancient(file) for file in files]
    )


def talosconfig_revision(wildcards):
    return credentials.revision(environment_of(wildcards))


def kubeconfig_revision(wildcards):
    return kubeconfig.revision(environment_of(wildcards))


def each_environment(files):
    return [
        str(file)
        for environment in ENVIRONMENTS.values()
        for file in files(environment)
    ]


def rendered_files(environment):
    paths = environment.paths
    configs = [paths.config(node) for node in environment.nodes]
    return [*configs, paths.talosconfig, paths.apply_script]


def validated_files(environment):
    markers = [environment.paths.validated(node) for node in environment.nodes]
    linted = [] if environment.artifact else [environment.paths.linted]
    return [*rendered_files(environment), *markers, *linted]


def vm_files(environment):
    if environment.vms is None:
        return []
    return [environment.paths.vm(node) for node in environment.nodes]


def applied_files(environment):
    markers = [environment.paths.applied(node) for node in environment.nodes]
    return [*validated_files(environment), *machine_files(environment), *markers]


def bootstrapped_files(environment):
    return [environment.paths.bootstrapped, environment.paths.kubeconfig_fetched]


def up_files(environment):
    return [*applied_files(environment), *bootstrapped_files(environment)]


def reachable_files(environment):
    """What must be there before nodes can be asked; those who look bring their certificate."""
    return [simulator.ready_file(environment)] if environment.cluster.simulated else []


def goal_files(environment):
    return {
        Goal.RENDERED: rendered_files,
        Goal.VALIDATED: validated_files,
        Goal.APPLIED: applied_files,
        Goal.BOOTSTRAPPED: up_files,
    }[environment.settings.goal](environment)


def rendered(_):
    return each_environment(rendered_files)


def from_git(target):
    """For targets that look at patches and what is made of them."""
    if SETTINGS.artifact:
        jobs.exit_with(pack.only_for_deploy(target))


def reviewed(_):
    """What an artifact is made of."""
    from_git("artifact")
    return validated(_)


def deployed(_):
    if not SETTINGS.artifact:
        jobs.exit_with(pack.not_deploying())
    return up(_)


def explained(_):
    """The rendered configs of the nodes that are to be explained."""
    from_git("explain")
    return each_environment(
        lambda environment: map(
            environment.paths.config,
            jobs.or_exit(explain.chosen, environment, SETTINGS.node),
        )
    )


def looked_at(_):
    from_git("lint")
    return validation_markers(_)


def compared(_):
    """What must be there before configs can be compared with what nodes run."""
    from_git("diff")
    files = validation_markers(_)
    if SETTINGS.against == "live":
        files += reachable(_)
    return files


def reported(_):
    """All that is validated; what failed is told of as it is. The page looks for lint itself."""
    files = each_environment(sound_files)
    if SETTINGS.strict:  # what it found would end the run
        linted = each_environment(lambda environment: [environment.paths.linted])
        files = [file for file in files if file not in linted]
    return files + (reachable(_) if SETTINGS.live else [])


def sound_files(environment):
    failed = status.failed_nodes(environment)
    if not failed:
        return validated_files(environment)
    paths = environment.paths
    sound = [node for node in environment.nodes if node not in failed]
    markers = [paths.validated(node) for node in sound]
    return [paths.talosconfig, paths.apply_script, *markers]


def promoted(_):
    """The configs of the two environments that are compared."""
    from_git("promote")
    if not SETTINGS.promotes:
        jobs.exit_with(settings.nothing_to_promote())
    return each_environment(
        lambda environment: map(environment.paths.config, environment.nodes)
    )


def validation_markers(_):
    return each_environment(
        lambda environment: map(environment.paths.validated, environment.nodes)
    )


def validated(_):
    return each_environment(validated_files)


def machines(_):
    return each_environment(vm_files)


def applied(_):
    return each_environment(applied_files)


def bootstrapped(_):
    """With what it rests on, which is `ancient` to bootstrap itself; see `there_first`."""
    return each_environment(
        lambda environment: [
            *before_apply(environment),
            *map(environment.paths.applied, environment.control_planes),
            *bootstrapped_files(environment),
        ]
    )


def up(_):
    return each_environment(up_files)


def reachable(_):
    return each_environment(reachable_files)


def administered(_):
    """What must be there before nodes can be changed."""
    return each_environment(
        lambda environment: [
            environment.paths.talosconfig,
            *reachable_files(environment),
        ]
    )


def goals(_):
    return each_environment(goal_files)
