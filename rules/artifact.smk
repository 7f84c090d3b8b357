# One file with all that is reviewed of an environment, and deploying exactly that.

from talosmake.artifact import check, pack
from talosmake.workflow import jobs, targets


rule artifact:
    input:
        of_each(targets.from_git("artifact", targets.validated)),
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
        of_each(targets.deployed),
