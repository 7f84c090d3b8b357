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
include: "rules/cilium.smk"
include: "rules/render.smk"
include: "rules/validate.smk"
include: "rules/explain.smk"
include: "rules/diff.smk"
include: "rules/schematics.smk"
include: "rules/lint.smk"
include: "rules/artifact.smk"
include: "rules/machines.smk"
include: "rules/deploy.smk"
include: "rules/reboot.smk"
include: "rules/reset.smk"
include: "rules/housekeeping.smk"


from talosmake.workflow import targets


rule all:
    default_target: True
    input:
        of_each(targets.goal),


rule render:
    input:
        of_each(targets.rendered),


rule validate:
    input:
        of_each(targets.validated),


rule vms:
    input:
        of_each(targets.machines),


rule apply:
    input:
        of_each(targets.applied),


rule bootstrap:
    input:
        of_each(targets.bootstrapped),


rule up:
    input:
        of_each(targets.up),
