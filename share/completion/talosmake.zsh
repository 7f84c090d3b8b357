# Completion of talosmake's targets, environments and nodes after `snakemake`, in a project's directory.
# Source this file in ~/.zshrc.

_talosmake() {
  if [[ ! -d patches/envs ]]; then
    _default
    return
  fi
  local env=${${(M)words:#env=*}[-1]#env=}
  local -a environments nodes
  environments=(patches/envs/*(N/:t))
  [[ -n $env ]] && nodes=(patches/envs/$env/(control_planes|workers)/*(N/:t))
  # Only such as a name may be: others could be more than words in a line.
  environments=(${environments:#(-*|*[^A-Za-z0-9_-]*)})
  nodes=(${nodes:#(-*|*[^A-Za-z0-9_-]*)})
  if compset -P 'env='; then
    compadd -- $environments all
  elif compset -P '(from|to)='; then
    compadd -- $environments
  elif compset -P 'node='; then
    compadd -- $nodes
  elif compset -P 'confirm='; then
    compadd -- $nodes $env
  elif compset -P 'against='; then
    compadd -- live applied
  elif compset -P 'goal='; then
    compadd -- rendered validated applied bootstrapped
  elif compset -P '(live|strict)='; then
    compadd -- true false
  elif compset -P '--logger='; then
    compadd -- talosmake
  elif compset -P 'artifact='; then
    _files -g '*.tar.gz'
  elif [[ $PREFIX == -* ]]; then
    compadd -- --config --dry-run --jobs --keep-going --quiet --logger --until --summary
  elif (( ${words[(I)--config]} )); then
    compadd -S '' -- env= node= path= confirm= against= goal= strict= live= from= to= artifact=
  else
    compadd -- render validate lint explain diff promote artifact artifact_check deploy report dag vms vms_plan vms_stop vms_destroy apply bootstrap up nodes refresh prune reset doctor schemas secrets separate_secrets rekey simulator_stop lab_stop
    _files
  fi
}

(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _talosmake snakemake
