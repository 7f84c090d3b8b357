#!/usr/bin/env bash
# Deploys the environment lab-1_a (cluster talos-test) with talosctl 1.13.9 alone, without Snakemake.
#   apply.sh              send each node its config, then show the bootstrap command
#   apply.sh --bootstrap  the same, and bootstrap etcd where no control plane has it
#   apply.sh --dry-run    only show the commands
# Safe to run again. It reboots no running node: it says which ones need that, and how it is done.
set -euo pipefail; umask 077
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export TALOSCONFIG="$here/talosconfig" PATH="$here/../../.venv/bin:$PATH"
mode=$* to_reboot=""
[[ $mode =~ ^(--bootstrap|--dry-run)?$ ]] || { sed -n '2,6s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2; }
fail() { printf 'apply.sh: %s\n' "$*" >&2; exit 1; }
wait_on() { ((SECONDS < $1)) || fail "timed out: $2"; echo "waiting: $2" >&2; sleep 1; } # END REASON
call() { # One call of talosctl, with an end; in the foreground, so that Ctrl-C ends it.
  timeout --foreground --signal=KILL 1 "$talosctl" "$@" ||
    { (($? != 137)) || echo "no answer within 1 s (talosctl $1)" >&2; return 1; }
}
node() { call "${@:2}" -n "$1" -e "${endpoint[$1]}"; } # The secure API of one node, and of no other.
without_values() { # What a node says of a config, without what may be secret.
  sed -e '/diff:/,$d' -e 's/\(with a reboot\): .*/\1/' -e '/unknown keys found/,${/unknown keys found/!d;}' \
    -e 's/`[^`]*`/<redacted>/g' -e 's|://[^" ]*@|://<redacted>@|g'
}
state_of() { # Whether a node is running, in maintenance mode (it has no config), foreign or unreachable.
  if secure=$(call get machinestatus "${running[@]}" 2>&1); then echo running
  elif insecure=$(call get links "${maintenance[@]}" 2>&1); then echo maintenance
  elif [[ $insecure == *"certificate required"* ]]; then echo "foreign: ${secure##*$'\n'}"
  else echo "unreachable: ${secure##*$'\n'}"; fi
}
check() { # WANTED ELSE RESOURCE KEYS: nothing is sent to a node that does not show what is wanted.
  shown=$(call get "$3" -o yaml "${way[@]}" 2>&1) || fail "$name: $shown"
  shown=$(awk -v keys=" $4 " 'index(keys, " " $1 " ") { gsub(/["\047]/, "", $2); print $2 }' <<<"$shown")
  { [[ -n $1 ]] && grep -qixF -e "$1" <<<"$shown"; } || fail "$name: the machine at $address $2; nothing was sent"
}
apply() { # One node. Nothing is sent that did not pass 'talosctl validate', byte for byte.
  local role=$1 name=$2 address=$3 mac=$7 uuid=$8 config="$here/$1-$2.yaml" state="$here/state/$1-$2" is answer
  local running=(-n "$3" -e "$4") maintenance=(--insecure -n "$5" -e "$5") end=$((SECONDS + 91))
  local first_time=(apply-config "${maintenance[@]}" --file "$config" ${9:+--cert-fingerprint "$9"})
  local again=(apply-config "${running[@]}" --file "$config" --mode no-reboot)
  if [[ $mode == --dry-run ]]; then
    printf '%s\n' "# $name, new, or else running:" "talosctl ${first_time[*]}" "talosctl ${again[*]}" && return
  fi
  grep -qsF "\"sha256\": \"$(sha256sum <"$config" | cut -d ' ' -f 1)\"" "$state.validated" ||
    fail "$name: $config did not pass 'talosctl validate'; run: snakemake validate --config env=lab-1_a"
  until is=$(state_of) && [[ $is != unreachable* ]]; do wait_on "$end" "$name ($address) is $is"; done
  [[ $is != *"expired certificate"* && $is != *"not yet valid"* ]] ||
    fail "$name: the talosconfig is too old, or a clock is wrong; run: snakemake validate --config env=lab-1_a, then this again (${is#*: })"
  [[ $is != foreign* ]] || fail "$name: the machine at $address belongs to another cluster; nothing was sent (${is#*: })"
  local way=("${maintenance[@]}") send=("${first_time[@]}")
  [[ $is == maintenance ]] || way=("${running[@]}") send=("${again[@]}")
  [[ -z $mac ]] || check "$mac" "does not have NODE_MAC $mac" links "hardwareAddr: permanentAddr:"
  [[ -z $uuid ]] || check "$uuid" "does not have NODE_UUID $uuid" systeminformation uuid:
  if [[ $is == running ]]; then
    check "$role" "does not run as $role" machinetype spec:
    check "$(awk '/^[^ ]/ { inside = /^cluster:/ } inside && $1 == "id:" { print $2; exit }' "$config")" \
      "runs with another cluster.id" infos.cluster.talos.dev clusterId:
  fi
  # First what others have to know: 'snakemake up' asks this node again, 'reset' and 'prune' find its machine.
  rm -f "$state.applied"
  printf '{"step": "sent", "node": "%s", "address": "%s", "endpoint": "%s", "maintenance_address": "%s", "hostname": "%s", "mac": "%s", "uuid": "%s"}\n' \
    "${@:2:7}" >"$state.new"
  mv "$state.new" "$state.machine"
  if ! answer=$(call "${send[@]}" 2>&1 | without_values); then
    [[ $is == running && $answer == *"can't be applied in immediate mode"* ]] || fail "$name: $answer"
    to_reboot+=" $name" answer="its new config needs a reboot; nothing was changed"
  fi
  echo "$name ($address, $is): $answer"
  # Without --bootstrap, a worker may not have its certificate yet: it gets it once there is an etcd.
  [[ $role$mode == worker ]] || until is=$(state_of) && [[ $is == running ]]; do wait_on "$end" "$name ($address) is $is"; done
}
bootstrap_etcd() { # Once, where every control plane says that it has no etcd; 1: ask again, because of $reason.
  runs="" reason=""
  for address in "${control_planes[@]}"; do
    answer=$(node "$address" service etcd 2>&1) || [[ $answer == *"is not registered"* ]] ||
      { reason="$address cannot be asked about etcd: ${answer##*$'\n'}"; continue; }
    answer=$(awk '$1 == "STATE" { print $2 }' <<<"$answer")
    [[ $answer != Running ]] || { runs+=" $address"; continue; }
    [[ -z $answer || "  Initialized Preparing Waiting Pre Starting Skipped " == *" $answer "* ]] ||
      fail "$address: its etcd is $answer; the cluster is not bootstrapped while an etcd may have data; look at it: talosctl --talosconfig $TALOSCONFIG -n $address -e ${endpoint[$address]} service etcd"
    # After a power cut, an etcd that has data looks as if it had never run.
    answer=$(node "$address" list /var/lib/etcd 2>&1) || [[ $answer == *"no such file or directory"* ]] ||
      reason="$address cannot be asked whether etcd has been on its disk: ${answer##*$'\n'}"
    ! grep -qx member <<<"$answer" || reason="the etcd with data on $address has yet to start"
  done
  [[ -z $runs ]] || { echo "etcd runs on$runs already; not bootstrapped again"; return 0; }
  [[ -z $reason ]] || return 1
  reason=$(node "$first" bootstrap 2>&1) || [[ $reason == *AlreadyExists* ]] ||
    { [[ $reason == *FailedPrecondition* || $reason == *"no answer within"* ]] || fail "bootstrap: $reason"; return 1; }
}
if [[ $mode != --dry-run ]]; then
  command -v flock >/dev/null || fail "flock is not on PATH (package util-linux): another run beside this one would not be seen"
  for talosctl in talosctl-1.13 talosctl ""; do
    [[ -n $talosctl ]] || fail "talosctl 1.13.9 is needed, as it made the configs; found: ${found##*$'\n'}; put it on PATH ('make setup', or 'talosmake setup', builds what is pinned)"
    found=$("$talosctl" version --client --short 2>&1) && [[ $found == *"v1.13.9" ]] && break; done
  [[ -f $TALOSCONFIG && -d $here/state ]] || fail "$TALOSCONFIG is missing; run: snakemake validate --config env=lab-1_a"
  cluster_lock=${XDG_CACHE_HOME:-~/.cache}/talosmake/locks/talos-test-daaf1926d24a.lock
  mkdir -p "${cluster_lock%/*}"
  exec 8>>"$here/state/lock" 9>>"$cluster_lock" # Locked until this process ends; runs of Snakemake lock them, too.
  flock -n 8 || fail "lab-1_a: another run is at work on this environment (process $(cat "$here/state/lock")); wait until it ends"
  flock -n 9 || fail "lab-1_a: another process changes nodes of this cluster (process $(cat "$cluster_lock")); wait until it ends"
  echo $$ | tee "$here/state/lock" >"$cluster_lock"
fi
echo 'Without NODE_MAC, so any machine in maintenance mode at their address gets their config: cp_1, w-2'
first=fd00::12 control_planes=(fd00::12 10.9.0.11)
declare -A endpoint=([fd00::12]=fd00::12 [10.9.0.11]=10.9.0.11)
#     role name address endpoint maintenance-address hostname NODE_MAC NODE_UUID certificate-fingerprint
apply controlplane cp-2 fd00::12 fd00::12 fd00::99 other-name 52:54:00:ab:cd:ef '' 'a'"'"'b "c" $(touch made) `touch made` ${HOME} \ ; # *'
apply controlplane cp_1 10.9.0.11 10.9.0.11 10.9.0.11 cp-1 '' '' ''
if [[ $mode == --bootstrap ]]; then
  end=$((SECONDS + 91)) && until bootstrap_etcd; do wait_on "$end" "bootstrap of $first: $reason"; done
  end=$((SECONDS + 0)) && until (($(node "$first" etcd members 2>/dev/null | wc -l) > 2)); do wait_on "$end" "etcd's 2 members"; done
  answer=$(node "$first" kubeconfig --merge=false --force "$here/kubeconfig" 2>&1) || fail "kubeconfig: $answer"
  echo "etcd has its 2 members; kubeconfig: $here/kubeconfig"
fi
apply worker w-2 10.9.0.21 192.0.2.21 192.0.2.21 w '' '' ''
[[ $mode == --bootstrap ]] || printf '%s\n' "To bootstrap, once (apply.sh --bootstrap looks first whether it may):" \
  "talosctl --talosconfig $TALOSCONFIG -n $first -e ${endpoint[$first]} bootstrap"
[[ -z $to_reboot ]] || fail "need a reboot to take their new config:$to_reboot
  -> 'snakemake up --config env=lab-1_a' does it, one at a time. By hand: --mode staged, then talosctl reboot"
