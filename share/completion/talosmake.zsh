# Completion of talosmake's targets, environments and nodes after `snakemake`, in a project's directory.
# Source this file in ~/.zshrc.

_talosmake() {
  if [[ ! -d patches/envs ]]; then
    _default
    return
  fi
  local env=${${(M)words:#env=*}[-1]#env=}
  local -a environments nodes
  # table: zsh words
  local -a keys targets
  keys=(env= goal= workers_at_once= bundle= strict= confirm= disks= node= path= against= from= to= live= submit= artifact=)
  targets=(render validate lint explain diff promote schematics schemas doctor report dag artifact artifact_check deploy vms vms_plan apply bootstrap up vms_stop vms_destroy nodes secrets separate_secrets rekey reset reboot refresh prune simulator_stop lab_stop)
  # end of table
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
  # table: zsh values
  elif compset -P 'goal='; then
    compadd -- rendered validated applied bootstrapped
  elif compset -P 'bundle='; then
    compadd -- own shared
  elif compset -P 'strict='; then
    compadd -- true false
  elif compset -P 'disks='; then
    compadd -- yes no
  elif compset -P 'against='; then
    compadd -- live applied
  elif compset -P 'live='; then
    compadd -- true false
  elif compset -P 'submit='; then
    compadd -- true false
  # end of table
  elif compset -P '--logger='; then
    compadd -- talosmake
  elif compset -P 'artifact='; then
    _files -g '*.tar.gz'
  elif [[ $PREFIX == -* ]]; then
    compadd -- --config --dry-run --jobs --keep-going --quiet --logger --until --summary
  elif (( ${words[(I)--config]} )); then
    compadd -S '' -- $keys
  else
    compadd -- $targets
    _files
  fi
}

(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _talosmake snakemake
