#!/usr/bin/env bash
# Makes the pictures of docs/ from the demo with simulated nodes; needs chromium.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
PATH="$PWD/.venv/bin:$PATH"
snakemake up --config env=demo -j4 --quiet all
snakemake report --config env=demo live=true --quiet all
snakemake dag --config env=demo --quiet all
cp rendered_configs/demo/dag.svg docs/pictures/dag.svg
chromium --headless=new --no-sandbox --disable-gpu --hide-scrollbars --window-size=1000,1560 \
  --screenshot="$PWD/docs/pictures/report.png" "file://$PWD/rendered_configs/demo/report.html"
snakemake simulator_stop --config env=demo --quiet all
