#!/bin/sh
# Gate two configurations of Postfix: is the mail server slower with B's settings than with A's?
#
#   examples/ci/gate_postfix.sh A.cf B.cf [GATE OPTIONS] [-- SEND OPTIONS]
#
# A.cf and B.cf hold lines for main.cf. Every run gets a fresh instance with an empty queue, which delivers to a sink of
# ours: what a build loses, doubles or damages fails it at once. Needs root, and Postfix installed but not necessarily
# running. Ends with the gate's exit code: 0 pass, 99 fail, 120 inconclusive.
#
#   : > a.cf
#   printf 'header_checks = regexp:/etc/postfix/header_checks\n' > b.cf
#   examples/ci/gate_postfix.sh a.cf b.cf --metric server.cpu:5% --metric p50:10%+2ms -- --message-count 500 --rate 50/s
#
# A rate that Postfix has time to spare at leaves the generator its core; what a message costs shows all the same.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
a=$(realpath "$1")
b=$(realpath "$2")
shift 2
# A path of the same length for both sides: even that can change how fast a program runs.
work=$(mktemp -d /tmp/gate.XXXXXX)
chmod 755 "$work"
port=${PORT:-2599}
instance="$here/postfix_instance.sh"
traffic_gen=${TRAFFIC_GEN:-traffic-gen}

$traffic_gen sink 127.0.0.1:0 --api 127.0.0.1:0 2>"$work/sink" &
sink=$!
trap 'kill "$sink" 2>/dev/null || true; "$instance" down "$work/mx" >/dev/null 2>&1 || true; rm -rf "$work"' EXIT
until behind=$(sed -n 's/^sink listening on [^ ]*:\([0-9]*\);.*/\1/p' "$work/sink") && [ -n "$behind" ] &&
    api=$(sed -n 's|.*API on http://\([^/]*\)/.*|\1|p' "$work/sink") && [ -n "$api" ]; do
    kill -0 "$sink" || { cat "$work/sink" >&2; exit 1; }
    sleep 0.1
done

export TRAFFIC_GEN_SINK_API="$api" TRAFFIC_GEN_WAIT_FOR_DELIVERY="${WAIT:-1m}"
$traffic_gen gate --a "127.0.0.1:$port" \
    --a-start "$instance up $work/mx $port $a $behind" --a-stop "$instance down $work/mx" \
    --b-start "$instance up $work/mx $port $b $behind" --b-stop "$instance down $work/mx" \
    --junit "${JUNIT:-gate.xml}" --history "${HISTORY:-gate.csv}" "$@"
