#!/usr/bin/env bash
# Deploys the environment lab-1_a (cluster talos-test) without Snakemake.
# Made from patches/envs/lab-1_a; it is made anew when a node or an address changes.
#
#   apply.sh              apply every node's config, then print the bootstrap command
#   apply.sh --bootstrap  the same, then run the bootstrap command
#   apply.sh --dry-run    only show the commands
#
# Safe to run again: it asks each node what it is and leaves alone what is in place.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export TALOSCONFIG="$here/talosconfig"
export PATH="$PATH:$here/../../.venv/bin"
readonly wait_seconds=91 etcd_seconds=0 apply_mode=no-reboot

dry_run=false bootstrap=false
for argument in "$@"; do
  case $argument in
    --dry-run) dry_run=true ;;
    --bootstrap) bootstrap=true ;;
    -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "apply.sh: unknown argument: $argument (try --help)" >&2; exit 2 ;;
  esac
done

say() { printf '%s\n' "$*"; }
fail() { printf 'apply.sh: %s\n' "$*" >&2; exit 1; }

# Where to connect to reach the node with an address.
endpoint_of() {
  case $1 in
    10.9.0.21) echo 192.0.2.21 ;;
    *) echo "$1" ;;
  esac
}

# The secure API of one node, and of no other.
node() { local address=$1; shift; talosctl "$@" -n "$address" -e "$(endpoint_of "$address")"; }

# What answers at the addresses: running, maintenance, foreign or unreachable.
state_of() {
  local address=$1 maintenance=$2 output
  if output=$(timeout 1 talosctl get machinestatus -n "$address" -e "$(endpoint_of "$address")" 2>&1); then
    echo running
  elif output=$(timeout 1 talosctl get links --insecure -n "$maintenance" -e "$maintenance" 2>&1); then
    echo maintenance
  elif [[ $output == *"certificate required"* ]]; then
    echo foreign
  else
    echo unreachable
  fi
}

# Waits until a node is in one of the states; prints the state.
wait_for() {
  local name=$1 address=$2 maintenance=$3 wanted=$4 end=$((SECONDS + wait_seconds)) state
  while true; do
    state=$(state_of "$address" "$maintenance")
    if [[ " $wanted " == *" $state "* ]]; then echo "$state"; return; fi
    ((SECONDS < end)) || fail "$name: waited $wait_seconds s for it to be ${wanted// / or }; it is $state"
    say "$name ($address): waiting, it is $state" >&2
    sleep 1
  done
}

# Nothing reaches a node that did not pass 'talosctl validate', byte for byte.
check_validated() {
  local name=$1 file=$2 marker=$3 digest
  digest=$(sha256sum <"$here/$file" | cut -d ' ' -f 1)
  grep -qsF "\"sha256\": \"$digest\"" "$here/state/$marker" ||
    fail "$name: $file did not pass 'talosctl validate'; run: snakemake validate --config env=lab-1_a"
}

# Only the machine with the MAC from node.env gets the config.
check_mac() {
  local name=$1 mac=$2; shift 2
  local links
  [[ -n $mac ]] || return 0
  links=$(talosctl get links -o yaml "$@" 2>&1) || fail "$name: $links"
  grep -qiE "(hardwareAddr|permanentAddr): [\"']?$mac" <<<"$links" ||
    fail "$name: the machine there does not have NODE_MAC $mac; nothing was sent"
}

# A running node keeps its role: another one needs a reset first.
check_role() {
  local name=$1 role=$2 address=$3
  local type
  type=$(node "$address" get machinetype -o yaml 2>&1) || fail "$name: $type"
  grep -qE "spec: $role\$" <<<"$type" ||
    fail "$name: the node at $address does not run as $role; nothing was sent"
}

apply() {
  local name=$1 role=$2 address=$3 maintenance=$4 mac=$5 fingerprint=$6
  local file="$role-$name.yaml" state insecure=() answer
  [[ -z $fingerprint ]] || insecure=(--cert-fingerprint "$fingerprint")
  if $dry_run; then
    say "# $name, if in maintenance mode:"
    say "talosctl apply-config --insecure -n $maintenance -e $maintenance --file $here/$file${insecure[*]:+ ${insecure[*]}}"
    say "# $name, if it runs already:"
    say "talosctl apply-config -n $address -e $(endpoint_of "$address") --file $here/$file --mode $apply_mode"
    return
  fi
  check_validated "$name" "$file" "$role-$name.validated"
  state=$(wait_for "$name" "$address" "$maintenance" "running maintenance foreign")
  case $state in
    foreign) fail "$name: the machine at $address belongs to another cluster; nothing was sent" ;;
    maintenance)
      check_mac "$name" "$mac" --insecure -n "$maintenance" -e "$maintenance"
      answer=$(talosctl apply-config --insecure -n "$maintenance" -e "$maintenance" --file "$here/$file" "${insecure[@]}" 2>&1) ||
        fail "$name: $answer"
      say "$name ($maintenance, maintenance mode): $answer"
      # A worker may have its certificate only once etcd runs.
      if [[ $role == controlplane ]] || $bootstrap; then
        wait_for "$name" "$address" "$maintenance" running >/dev/null
      fi
      ;;
    running)
      check_mac "$name" "$mac" -n "$address" -e "$(endpoint_of "$address")"
      check_role "$name" "$role" "$address"
      answer=$(node "$address" apply-config --file "$here/$file" --mode "$apply_mode" 2>&1) || fail "$name: ${answer%%diff:*}"
      say "$name ($address): ${answer%%diff:*}"
      wait_for "$name" "$address" "$maintenance" running >/dev/null
      ;;
  esac
}

# Bootstraps etcd once: every control plane is asked first whether it runs one.
bootstrap_cluster() {
  local address answer
  for address in "${control_planes[@]}"; do
    answer=$(node "$address" service etcd 2>&1) || fail "$address cannot be asked about etcd: $answer"
    if grep -qE '^STATE +Running' <<<"$answer"; then
      say "etcd runs on $address already; not bootstrapped again"
      return
    fi
  done
  if ! answer=$(node "$first" bootstrap 2>&1); then
    [[ $answer == *AlreadyExists* ]] || fail "bootstrap: $answer"
  fi
  say "bootstrapped etcd on $first"
}

wait_for_etcd() {
  local address end=$((SECONDS + etcd_seconds)) members
  for address in "${control_planes[@]}"; do
    until members=$(node "$address" etcd members 2>/dev/null | tail -n +2 | wc -l) && ((members >= ${#control_planes[@]})); do
      ((SECONDS < end)) || fail "waited $etcd_seconds s for ${#control_planes[@]} etcd members at $address"
      sleep 1
    done
  done
  say "etcd has its ${#control_planes[@]} members"
}

command -v talosctl >/dev/null || fail "talosctl is not on PATH; 'make setup' builds it into .venv/bin"
[[ -f $TALOSCONFIG ]] || fail "$TALOSCONFIG is missing; run: snakemake validate --config env=lab-1_a"

readonly first=fd00::12
control_planes=(fd00::12 10.9.0.11)

apply cp-2 controlplane fd00::12 fd00::99 52:54:00:ab:cd:ef 'a'"'"'b "c" $(touch made) `touch made` ${HOME} \ ; # *'
apply cp_1 controlplane 10.9.0.11 10.9.0.11 '' ''

if $bootstrap && ! $dry_run; then
  bootstrap_cluster
  wait_for_etcd
  (umask 077 && node "$first" kubeconfig --merge=false --force "$here/kubeconfig")
  say "kubeconfig: $here/kubeconfig"
fi

apply cp-2 worker 10.9.0.21 192.0.2.21 '' ''

if ! $bootstrap || $dry_run; then
  say "To bootstrap (once, on the first control plane; apply.sh --bootstrap does it and waits for etcd):"
  say "talosctl --talosconfig $TALOSCONFIG -n $first -e $(endpoint_of "$first") bootstrap"
fi
