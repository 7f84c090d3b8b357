# Cilium's layer, one machine config per node, the talosconfig, and apply.sh.


# Once per environment; only its control planes have it.
rule cilium_layer:
    input:
        env_file=lambda wildcards: environment_of(wildcards).env_file,
        files=cilium_files_of,
    output:
        "rendered_configs/{env}/state/cilium.yaml",
    log:
        "logs/{env}/cilium_layer.log",
    params:
        code=code.digest("cilium"),
        helm=lambda wildcards: cilium.helm_version(environment_of(wildcards)),
        sources=cilium_sources_of,
    run:
        jobs.run(log, cilium.write_layer, environment_of(wildcards))


# Deploying an artifact, the configs come from it. Their other parameters make a run without it
# render again.
if SETTINGS.artifact:

    rule unpack_config:
        input:
            bundle=bundle_of,
            artifact=SETTINGS.artifact,
        output:
            "rendered_configs/{env}/{role}-{node}.yaml",
        log:
            "logs/{env}/{role}-{node}.unpack.log",
        params:
            code=code.digest("artifact"),
            sha256=lambda wildcards: environment_of(wildcards).artifact.sha256,
        run:
            jobs.run(
                log,
                artifact.write_config,
                environment_of(wildcards),
                node_of(wildcards),
            )

else:

    rule render_config:
        input:
            bundle=bundle_of,
            env_files=env_files_of,
            patches=patches_of,
            cilium=cilium_of,
        output:
            "rendered_configs/{env}/{role}-{node}.yaml",
        log:
            "logs/{env}/{role}-{node}.render.log",
        params:
            code=code.digest("render"),
            talosctl=tools.TALOSCTL.pinned,
            sources=sources_of,
        run:
            jobs.run(
                log,
                render.write_config,
                environment_of(wildcards),
                node_of(wildcards),
            )


rule client_certificate:
    input:
        bundle=bundle_of,
    output:
        "rendered_configs/{env}/state/talosconfig",
    log:
        "logs/{env}/client_certificate.log",
    run:
        jobs.run(log, talosconfig.write_client_certificate, environment_of(wildcards))


rule talosconfig:
    input:
        "rendered_configs/{env}/state/talosconfig",
    output:
        "rendered_configs/{env}/talosconfig",
    log:
        "logs/{env}/talosconfig.log",
    params:
        code=code.digest("talosconfig"),
        endpoints=lambda wildcards: [
            node.endpoint for node in environment_of(wildcards).control_planes
        ],
    run:
        jobs.run(log, talosconfig.write_talosconfig, environment_of(wildcards))


rule apply_script:
    input:
        template=str(apply_script.TEMPLATES / "apply.sh.j2"),
    output:
        "rendered_configs/{env}/apply.sh",
    log:
        "logs/{env}/apply_script.log",
    params:
        code=code.digest("apply_script"),
        facts=lambda wildcards: apply_script.facts_digest(environment_of(wildcards)),
    run:
        jobs.run(log, apply_script.write_apply_script, environment_of(wildcards))
