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
readonly wait_seconds=91 etcd_seconds=0 call_seconds=1
readonly apply_mode=no-reboot

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

# One call to a node; when it takes too long, what it says is that there was no answer.
call() {
  local code=0
  # In the foreground, so that Ctrl-C ends it at once. By KILL, as Ctrl-C is what talosctl takes TERM for.
  timeout --foreground --signal=KILL "$call_seconds" talosctl "$@" || code=$?
  case $code in
    124 | 137) echo "no answer within $call_seconds s (talosctl $1)" >&2 ;;
  esac
  return "$code"
}

# The secure API of one node, and of no other.
node() { local address=$1; shift; call "$@" -n "$address" -e "$(endpoint_of "$address")"; }

# What answers at the addresses: running, maintenance, foreign or unreachable.
state_of() {
  local address=$1 maintenance=$2 output
  if output=$(node "$address" get machinestatus 2>&1); then
    echo running
  elif output=$(call get links --insecure -n "$maintenance" -e "$maintenance" 2>&1); then
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

# Only the machine with the MAC and the UUID from node.env gets the config.
check_machine() {
  local name=$1 mac=$2 uuid=$3; shift 3
  local found
  if [[ -n $mac ]]; then
    found=$(call get links -o yaml "$@" 2>&1) || fail "$name: $found"
    grep -qiE "(hardwareAddr|permanentAddr): [\"']?$mac" <<<"$found" ||
      fail "$name: the machine there does not have NODE_MAC $mac; nothing was sent"
  fi
  if [[ -n $uuid ]]; then
    found=$(call get systeminformation -o yaml "$@" 2>&1) || fail "$name: $found"
    grep -qiE "uuid: [\"']?$uuid" <<<"$found" ||
      fail "$name: the machine there does not have NODE_UUID $uuid; nothing was sent"
  fi
}

# A running node keeps its cluster and its role: another one needs a reset first.
check_cluster() {
  local name=$1 role=$2 address=$3 file=$4
  local type info id
  type=$(node "$address" get machinetype -o yaml 2>&1) || fail "$name: $type"
  grep -qE "spec: $role\$" <<<"$type" ||
    fail "$name: the node at $address does not run as $role; nothing was sent"
  id=$(awk '/^cluster:/ { inside = 1 } inside && $1 == "id:" { print $2; exit }' "$here/$file")
  info=$(node "$address" get infos.cluster.talos.dev -o yaml 2>&1) || fail "$name: $info"
  if [[ -z $id ]] || ! grep -qF "clusterId: $id" <<<"$info"; then
    fail "$name: the node at $address runs with another cluster.id; nothing was sent"
  fi
}

# Why etcd is not healthy, the member at one address left out; nothing if it is.
etcd_trouble() {
  local besides=$1 address members="" status count wanted=${#control_planes[@]}
  for address in "${control_planes[@]}"; do
    members=$(node "$address" etcd members 2>/dev/null) && break
  done
  [[ -n $members ]] || { echo "no control plane lists etcd's members"; return; }
  while read -r address; do
    [[ $address != "$besides" ]] || continue
    status=$(node "$address" etcd status 2>&1) ||
      { echo "the member at $address: ${status##*$'\n'}"; return; }
    # A learner, or anything below ERRORS, which is the last column. With bash -x, what the shell
    # does stands around the table.
    awk -v at="$address" '
      /LEARNER.*ERRORS/ { errors = index($0, "ERRORS"); learner = index($0, "LEARNER"); next }
      errors {
        if (substr($0, learner, 4) == "true") print "the member at " at " is still a learner"
        else if (substr($0, errors) ~ /[^ ]/) print "the member at " at ": " substr($0, errors)
        told = 1
        exit
      }
      END { if (!told) print "the member at " at " does not tell its status" }' <<<"$status" | grep . && return
  done < <(sed -nE 's|.*https://([^ ]*):2379.*|\1|p' <<<"$members" | tr -d '[]')
  # Where some have yet to join, one reboot may already be one too many.
  count=$(grep -c 'https://[^ ]*:2379' <<<"$members") || true
  if [[ -n $besides ]] && ((count < wanted && count - 1 < count / 2 + 1)); then
    echo "$count of $wanted control planes are in it: without $besides it would have no quorum"
  fi
  return 0
}

# Waits until etcd is healthy, the member at one address left out.
wait_for_healthy_etcd() {
  local name=$1 besides=$2 end=$((SECONDS + etcd_seconds)) trouble
  while trouble=$(etcd_trouble "$besides") && [[ -n $trouble ]]; do
    ((SECONDS < end)) || fail "$name: waited $etcd_seconds s for etcd to be healthy: $trouble"
    say "$name: waiting for etcd to be healthy: $trouble"
    sleep 1
  done
}

# What a node says of a config, without what may be secret: what differs, and values that it quotes.
without_values() {
  sed -e '/diff:/,$d' -e 's/\(with a reboot\): .*/\1/' -e '/unknown keys found/,${/unknown keys found/!d;}' \
    -e 's/`[^`]*`/<redacted>/g' -e 's|://[^" ]*@|://<redacted>@|g'
}

# Sends a config to a running node.
send() { node "$1" apply-config --file "$here/$2" --mode "$3" 2>&1 | without_values; }

# The state of a control plane's etcd service; nothing before the node has one.
etcd_state() {
  local answer
  answer=$(node "$1" service etcd 2>&1) || {
    [[ $answer == *"is not registered"* ]] && return
    answer=${answer##*$'\n'}
    echo "${answer:-no answer}"
    return 1
  }
  awk '$1 == "STATE" { print $2 }' <<<"$answer"
}

# Another one after each boot; fails without one.
boot_id() { node "$1" read /proc/sys/kernel/random/boot_id | grep .; }

# A config that needs a reboot goes to a control plane only while all other etcd members are healthy.
apply_with_reboot() {
  local name=$1 role=$2 address=$3 maintenance=$4 file=$5
  local before now answer has_etcd=false end
  if [[ $role == controlplane ]]; then
    answer=$(etcd_state "$address") || fail "$name: cannot be asked about etcd, so it is not rebooted; nothing was sent: $answer"
    case $answer in
      '' | Initialized | Preparing | Waiting | Pre | Starting | Skipped) ;;
      *)
        has_etcd=true
        wait_for_healthy_etcd "$name" "$address"
        ;;
    esac
  fi
  before=$(boot_id "$address") || fail "$name: its boot ID cannot be read; nothing was sent"
  answer=$(send "$address" "$file" "$apply_mode") || fail "$name: $answer"
  say "$name ($address): $answer"
  end=$((SECONDS + wait_seconds))
  # A node that goes down tells no boot ID either: only another one says that it has rebooted.
  until now=$(boot_id "$address" 2>/dev/null) && [[ $now != "$before" && $(state_of "$address" "$maintenance") == running ]]; do
    ((SECONDS < end)) || fail "$name: waited $wait_seconds s for it to be back after its reboot; no other node was touched"
    sleep 1
  done
  if $has_etcd; then
    wait_for_healthy_etcd "$name" ""
  fi
}

# As 'auto' does, in two steps: so a reboot can wait until etcd can bear it.
apply_to_running() {
  local name=$1 role=$2 address=$3 maintenance=$4 file=$5
  local mode=$apply_mode answer
  [[ $mode != auto ]] || mode=no-reboot
  if [[ $apply_mode == reboot ]]; then
    apply_with_reboot "$@"
  elif answer=$(send "$address" "$file" "$mode"); then
    say "$name ($address): $answer"
  elif [[ $answer != *"can't be applied in immediate mode"* ]]; then
    fail "$name: $answer"
  elif [[ $apply_mode == no-reboot ]]; then
    fail "$name: the new config needs a reboot, and APPLY_MODE is no-reboot; nothing was changed"
  else
    apply_with_reboot "$@"
  fi
}

apply() {
  local name=$1 role=$2 address=$3 maintenance=$4 mac=$5 uuid=$6 fingerprint=$7
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
      check_machine "$name" "$mac" "$uuid" --insecure -n "$maintenance" -e "$maintenance"
      answer=$(call apply-config --insecure -n "$maintenance" -e "$maintenance" --file "$here/$file" "${insecure[@]}" 2>&1 | without_values) ||
        fail "$name: $answer"
      say "$name ($maintenance, maintenance mode): $answer"
      # A worker may have its certificate only once etcd runs.
      if [[ $role == controlplane ]] || $bootstrap; then
        wait_for "$name" "$address" "$maintenance" running >/dev/null
      fi
      ;;
    running)
      check_machine "$name" "$mac" "$uuid" -n "$address" -e "$(endpoint_of "$address")"
      check_cluster "$name" "$role" "$address" "$file"
      apply_to_running "$name" "$role" "$address" "$maintenance" "$file"
      wait_for "$name" "$address" "$maintenance" running >/dev/null
      ;;
  esac
}

# The control planes on which etcd runs. An etcd that is down may have data: only a person can tell.
nodes_with_etcd() {
  local end=$1 address state
  for address in "${control_planes[@]}"; do
    until state=$(etcd_state "$address"); do
      ((SECONDS < end)) || fail "$address cannot be asked about etcd, so the cluster is not bootstrapped: $state"
      say "$address: waiting for its word on etcd: $state" >&2
      sleep 1
    done
    case $state in
      Running) echo "$address" ;;
      '' | Initialized | Preparing | Waiting | Pre | Starting | Skipped) ;;
      *)
        fail "$address: its etcd is $state; the cluster is not bootstrapped while an etcd may have data, because a second one would be founded beside it
  -> Look at it: talosctl --talosconfig $TALOSCONFIG -n $address -e $(endpoint_of "$address") service etcd"
        ;;
    esac
  done
}

# The control planes on whose disks etcd has been; not the first one, as Talos bootstraps none with data.
nodes_with_data() {
  local address answer
  for address in "${control_planes[@]}"; do
    [[ $address != "$first" ]] || continue
    if answer=$(node "$address" list /var/lib/etcd 2>&1); then
      if grep -qx member <<<"$answer"; then echo "$address"; fi
    elif [[ $answer != *"no such file or directory"* ]]; then
      fail "$address cannot be asked whether etcd has been on its disk: ${answer##*$'\n'}"
    fi
  done
}

# Bootstraps etcd once: before each attempt every control plane is asked whether it has one.
bootstrap_cluster() {
  local running starting answer end=$((SECONDS + wait_seconds))
  while true; do
    running=$(nodes_with_etcd "$end") || exit 1
    if [[ -n $running ]]; then
      say "etcd runs on ${running//$'\n'/, } already; not bootstrapped again"
      return
    fi
    # After a power cut etcd looks as if it had never run.
    starting=$(nodes_with_data) || exit 1
    if [[ -n $starting ]]; then
      ((SECONDS < end)) || fail "waited $wait_seconds s for the etcd with data on ${starting//$'\n'/, } to start; not bootstrapped"
      say "waiting for the etcd with data on ${starting//$'\n'/, } to start"
      sleep 1
      continue
    fi
    answer=$(node "$first" bootstrap 2>&1) && break
    case $answer in
      *AlreadyExists*) break ;;
      # A node says that it is too early for some seconds after it got its config; without an answer
      # nobody knows whether it was done.
      *FailedPrecondition* | *"no answer within"*) ;;
      *) fail "bootstrap: $answer" ;;
    esac
    ((SECONDS < end)) || fail "bootstrap: $answer"
    say "bootstrap of $first: trying again: ${answer##*$'\n'}"
    sleep 1
  done
  say "bootstrapped etcd on $first"
}

wait_for_etcd() {
  local address end=$((SECONDS + etcd_seconds)) members
  for address in "${control_planes[@]}"; do
    # Without an etcd that runs, a node leaves the question for members without an answer.
    until [[ $(etcd_state "$address") == Running ]] && members=$(node "$address" etcd members 2>/dev/null | tail -n +2 | wc -l) && ((members >= ${#control_planes[@]})); do
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

say "Without NODE_MAC, so any machine in maintenance mode at their address gets their config: cp_1, w-2"
apply cp-2 controlplane fd00::12 fd00::99 52:54:00:ab:cd:ef '' 'a'"'"'b "c" $(touch made) `touch made` ${HOME} \ ; # *'
apply cp_1 controlplane 10.9.0.11 10.9.0.11 '' '' ''

if $bootstrap && ! $dry_run; then
  bootstrap_cluster
  wait_for_etcd
  answer=$(umask 077 && node "$first" kubeconfig --merge=false --force "$here/kubeconfig" 2>&1) ||
    fail "kubeconfig: $answer"
  say "kubeconfig: $here/kubeconfig"
fi

apply w-2 worker 10.9.0.21 192.0.2.21 '' '' ''

if ! $bootstrap || $dry_run; then
  say "To bootstrap (once, on the first control plane; apply.sh --bootstrap does it and waits for etcd):"
  say "talosctl --talosconfig $TALOSCONFIG -n $first -e $(endpoint_of "$first") bootstrap"
fi
