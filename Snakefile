# From patches and encrypted secrets to running Talos clusters: the whole in one look.
#
#   cluster.env + secrets + patches -> machine config per node -> validated -> applied -> bootstrapped
#
#   snakemake --config env=prod -j4          as far as the environment's goal says
#   snakemake up --config env=prod -j4       all the way to a bootstrapped cluster
#   snakemake -n --config env=prod           only show what would be done

from snakemake.utils import min_version

min_version("9.27")


include: "rules/common.smk"
include: "rules/secrets.smk"
include: "rules/simulator.smk"
include: "rules/lab.smk"
include: "rules/render.smk"
include: "rules/validate.smk"
include: "rules/explain.smk"
include: "rules/diff.smk"
include: "rules/lint.smk"
include: "rules/artifact.smk"
include: "rules/machines.smk"
include: "rules/deploy.smk"
include: "rules/reset.smk"
include: "rules/housekeeping.smk"


rule all:
    default_target: True
    input:
        goals,


rule render:
    input:
        rendered,


rule validate:
    input:
        validated,


rule vms:
    input:
        machines,


rule apply:
    input:
        applied,


rule bootstrap:
    input:
        bootstrapped,


rule up:
    input:
        up,
