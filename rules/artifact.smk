# One file with all that is reviewed of an environment, and deploying exactly that.


rule artifact:
    input:
        reviewed,
    log:
        f"logs/{SETTINGS.env}/artifact.log",
    run:
        for environment in ENVIRONMENTS.values():
            jobs.run(log, artifact.make, environment)


# With a bundle and a directory of its own: it needs no key, and nothing takes its files for real.
rule artifact_check:
    log:
        f"logs/{SETTINGS.env}/artifact_check.log",
    run:
        jobs.run(
            log, artifact_check.check, list(ENVIRONMENTS.values()), SETTINGS.strict
        )


rule deploy:
    input:
        deployed,
