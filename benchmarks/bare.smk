# As many jobs and files as the workflow has for COUNT nodes, and nothing in them.


rule all:
    input:
        expand("out/{node}.validated", node=range(COUNT)),


rule render:
    input:
        "in/{node}.common",
        "in/{node}.env",
        "in/{node}.own",
    output:
        "out/{node}.yaml",
    shell:
        "touch {output}"


rule validate:
    input:
        "out/{node}.yaml",
    output:
        "out/{node}.validated",
    shell:
        "touch {output}"
