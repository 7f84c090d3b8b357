# Which file set each value of a node's config, and what it overrode.


rule explain:
    input:
        explained,
    log:
        f"logs/{SETTINGS.env}/explain.log",
    run:
        jobs.run(
            log,
            explain.show,
            list(ENVIRONMENTS.values()),
            SETTINGS.node,
            SETTINGS.path,
        )
