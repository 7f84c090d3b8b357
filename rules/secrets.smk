# Age key and encrypted secrets bundle. Only the targets below make any, and they write over
# nothing; those on this machine alone have throw-away ones, in ignored files.

from talosmake.secrets import create, rekey
from talosmake.workflow import jobs


rule secrets:
    log:
        f"logs/{CONFIG.env}/secrets.log",
    run:
        for environment in ENVIRONMENTS.values():
            jobs.run(log, create.make, environment, CONFIG.bundle)


rule separate_secrets:
    log:
        f"logs/{CONFIG.env}/separate_secrets.log",
    run:
        for environment in ENVIRONMENTS.values():
            jobs.run(log, create.separate, environment)


rule rekey:
    log:
        "logs/rekey.log",
    run:
        everything = CONFIG.env == "all"
        jobs.run(
            log, rekey.rekey, list(ENVIRONMENTS.values()), everything=everything
        )


# The marker is the output and not the bundle, because Snakemake removes a job's outputs before it
# runs the job again.
rule throwaway_secrets:
    output:
        "secrets/.{env}.made",
    log:
        "logs/{env}/throwaway_secrets.log",
    params:
        lost=lambda wildcards: create.throwaway_lost(environment_of(wildcards)),
    run:
        jobs.run(log, create.make_throwaway, environment_of(wildcards))
