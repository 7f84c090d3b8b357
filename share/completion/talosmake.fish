# Completion of talosmake's targets, environments and nodes after `snakemake`, in a project's directory.
# Source this file, or put it into ~/.config/fish/completions/snakemake.fish

# The names of directories, but only such as a name may be: others could be more than words in a line.
function __talosmake_names
    string replace -r '/$' '' -- $argv | string replace -r '.*/' '' | string match -r '^[A-Za-z0-9_][A-Za-z0-9_-]*$'
end

function __talosmake_words
    set -l words (commandline -opc)
    # table: fish words
    set -l values goal=rendered goal=validated goal=applied goal=bootstrapped bundle=own bundle=shared strict=true strict=false disks=yes disks=no against=live against=applied live=true live=false submit=true submit=false
    set -l targets render validate lint explain diff promote schematics schemas doctor report dag artifact artifact_check deploy vms vms_plan apply bootstrap up vms_stop vms_destroy nodes secrets separate_secrets rekey reset reboot refresh prune simulator_stop lab_stop
    # end of table
    if contains -- --config $words
        set -l environments patches/envs/*/
        for name in (__talosmake_names $environments)
            printf '%s\n' env=$name from=$name to=$name
        end
        set -l env (string match -r '^env=(.+)$' -- $words)[2]
        if test -n "$env"
            set -l nodes patches/envs/$env/{control_planes,workers}/*/
            for name in (__talosmake_names $nodes)
                printf '%s\n' node=$name confirm=$name
            end
        end
        printf '%s\n' env=all $values
    else
        printf '%s\n' $targets --config
    end
end

complete -c snakemake -n 'test -d patches/envs' -f -a '(__talosmake_words)'
