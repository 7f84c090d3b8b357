# One file with all that is reviewed of an environment, and deploying exactly that.

from talosmake.artifact import check, pack, unpack
from talosmake.workflow import jobs, targets


def artifact_inputs(_):
    only_from_git("artifact")
    return files_of_each(targets.validated)


def deploy_inputs(_):
    if not CONFIG.artifact:
        jobs.exit_with(unpack.not_deploying())
    return files_of_each(targets.up)


rule artifact:
    input:
        artifact_inputs,
    log:
        f"logs/{CONFIG.env}/artifact.log",
    run:
        for environment in ENVIRONMENTS.values():
            jobs.run(log, pack.make, environment)


# With a bundle and a directory of its own: it needs no key, and nothing takes its files for real.
rule artifact_check:
    log:
        f"logs/{CONFIG.env}/artifact_check.log",
    run:
        jobs.run(log, check.check, list(ENVIRONMENTS.values()), CONFIG.strict)


rule deploy:
    input:
        deploy_inputs,
