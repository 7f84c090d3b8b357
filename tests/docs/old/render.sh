#!/usr/bin/env bash
# A script as people write them, which made the cluster that is moved: per node, variables are put
# into the patches, talosctl generates a config with them in order, and applies it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

base="gen config talos-prod https://10.1.1.10:6443 --with-secrets secrets.yaml --talos-version v1.13"
patches=../patches/envs/prod
set -a
# shellcheck source=/dev/null
. "$patches/cluster.env"
for role in control_planes workers; do
  for directory in "$patches/$role"/*/; do
    # shellcheck source=/dev/null
    . "$directory/node.env"
    node=$(basename "$directory")
    arguments=()
    number=0
    printf 'apiVersion: v1alpha1\nkind: HostnameConfig\nhostname: %s\nauto: off\n' "${node//_/-}" >host.yaml
    for patch in host.yaml ../patches/common.yaml "$patches/common.yaml" "$patches/$role/common.yaml" \
      "$directory"/*.yaml; do
      [ -e "$patch" ] || continue
      number=$((number + 1))
      python3 -c 'import os, sys; print(os.path.expandvars(sys.stdin.read()))' <"$patch" \
        >"$node-$number.patch"
      arguments+=(--config-patch "@$node-$number.patch")
    done
    type=worker
    [ "$role" = workers ] || type=controlplane
    # shellcheck disable=SC2086
    talosctl $base --kubernetes-version 1.36.0 --install-image ghcr.io/siderolabs/installer:v1.13.0 \
      --with-docs=false --with-examples=false "${arguments[@]}" -t "$type" -o "$node.yaml"
    talosctl apply-config --insecure -n "$NODE_IP" -e "$NODE_IP" --file "$node.yaml"
  done
done
# shellcheck disable=SC2086
talosctl $base -t talosconfig -o talosconfig
until talosctl --talosconfig talosconfig -n 10.1.1.11 -e 10.1.1.11 bootstrap 2>/dev/null; do
  sleep 0.2
done
