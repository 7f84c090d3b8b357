# Completion of talosmake's targets, environments and nodes after `snakemake`, in a project's directory.
# Source this file in ~/.bashrc.

# Adds the names of directories to candidates. Only such as a name may be, because a shell would run or
# expand others: compgen -W does so, and so would the finished line.
_talosmake_names() {
  local path name
  for path in "$@"; do
    path=${path%/}
    name=${path##*/}
    if [[ -d $path && $name =~ ^[A-Za-z0-9_][A-Za-z0-9_-]*$ ]]; then candidates+=("$name"); fi
  done
}

_talosmake() {
  local line=${COMP_LINE:0:COMP_POINT} word name env candidate candidates=()
  word=${line##* }
  # table: bash words
  local keys=(env= goal= workers_at_once= bundle= strict= confirm= disks= node= path= against= from= to= live= submit= artifact=)
  local targets=(render validate lint explain diff promote schematics schemas doctor report dag artifact artifact_check deploy vms vms_plan apply bootstrap up vms_stop vms_destroy nodes secrets separate_secrets rekey reset reboot refresh prune simulator_stop lab_stop)
  # end of table
  COMPREPLY=()
  [[ -d patches/envs ]] || return 0
  case $word in
    env=* | from=* | to=*)
      _talosmake_names patches/envs/*/
      [[ $word == env=* ]] && candidates+=(all)
      ;;
    node=* | confirm=*)
      env=$(sed -n 's/.*[[:space:]]env=\([A-Za-z0-9_-]*\).*/\1/p' <<<"$line")
      [[ -n $env ]] || return 0
      _talosmake_names "patches/envs/$env"/{control_planes,workers}/*/
      [[ $word == confirm=* ]] && candidates+=("$env")
      ;;
    # table: bash values
    goal=*) candidates=(rendered validated applied bootstrapped) ;;
    bundle=*) candidates=(own shared) ;;
    strict=*) candidates=(true false) ;;
    disks=*) candidates=(yes no) ;;
    against=*) candidates=(live applied) ;;
    live=*) candidates=(true false) ;;
    submit=*) candidates=(true false) ;;
    # end of table
    --logger=*) candidates=(talosmake) ;;
    -*) candidates=(--config --dry-run --jobs --keep-going --quiet --logger --until --summary) ;;
    *)
      if [[ $line == *" --config "* ]]; then
        candidates=("${keys[@]}")
      else
        candidates=(--config "${targets[@]}")
      fi
      ;;
  esac
  # After a `=`, where bash begins a new word.
  name=$word
  [[ $word == *=* ]] && name=${word#*=}
  for candidate in "${candidates[@]}"; do
    if [[ $candidate == "$name"* ]]; then COMPREPLY+=("$candidate"); fi
  done
  # Nothing follows a key but its value.
  if [[ ${COMPREPLY[*]} == *= ]]; then compopt -o nospace 2>/dev/null || true; fi
}
complete -o default -F _talosmake snakemake
