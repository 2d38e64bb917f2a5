#!/bin/sh
# Prove delivery with two separate programs: a sink that refuses a tenth of the mail for good and keeps a ledger, a sender
# that keeps a manifest, and the verdict on both.
set -eu
traffic_gen=${TRAFFIC_GEN:-traffic-gen}
folder=$(mktemp -d)
trap 'kill "$sink" 2>/dev/null || true; rm -rf "$folder"' EXIT

printf '[default]\nbounce = 10\n' > "$folder/responses.toml"
$traffic_gen sink "unix:$folder/sink" --responses "$folder/responses.toml" --ledger "$folder/ledger" 2> "$folder/said" &
sink=$!
until grep -q listening "$folder/said" 2>/dev/null; do :; done

$traffic_gen --target "unix:$folder/sink" --message-count 1000 --workers 1 --keep-going --quiet \
  --manifest "$folder/manifest" > "$folder/summary"
kill -INT "$sink"
wait "$sink"
$traffic_gen verify "$folder/manifest" "$folder/ledger"
