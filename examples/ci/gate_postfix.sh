#!/bin/sh
# Gate two configurations of Postfix: is the mail server slower, or dearer, with B's settings than with A's?
#
#   examples/ci/gate_postfix.sh A.cf B.cf [GATE OPTIONS] [-- SEND OPTIONS]
#
# A.cf and B.cf hold lines for main.cf. Each gets an instance of its own, with an empty queue; both deliver to a sink of
# ours, and what a build loses, doubles or damages fails it. Both are up at the same time, and the load goes to one of
# them at a time, in slices of seconds. Needs root, and Postfix installed but not necessarily running. Ends with the
# gate's exit code: 0 pass, 99 fail, 120 inconclusive.
#
#   : > a.cf
#   printf 'header_checks = regexp:/etc/postfix/header_checks\n' > b.cf
#   examples/ci/gate_postfix.sh a.cf b.cf --metric server.cpu:5% --metric p50:10%+2ms -- --rate 50/s
#
# A rate that Postfix has time to spare at leaves the generator its core; what a message costs shows all the same.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
a=$(realpath "$1")
b=$(realpath "$2")
shift 2
# Paths of the same length for both sides: even that can change how fast a program runs.
work=$(mktemp -d /tmp/gate.XXXXXX)
chmod 755 "$work"
port=${PORT:-2598}
instance="$here/postfix_instance.sh"
traffic_gen=${TRAFFIC_GEN:-traffic-gen}

end() {
    kill "$sink" 2>/dev/null || true
    for side in a b; do "$instance" down "$work/$side" >/dev/null 2>&1 || true; done
    rm -rf "$work"
}

$traffic_gen sink 127.0.0.1:0 --api 127.0.0.1:0 2>"$work/sink" &
sink=$!
trap end EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
until behind=$(sed -n 's/^sink listening on [^ ]*:\([0-9]*\);.*/\1/p' "$work/sink") && [ -n "$behind" ] &&
    api=$(sed -n 's|.*API on http://\([^/]*\)/.*|\1|p' "$work/sink") && [ -n "$api" ]; do
    kill -0 "$sink" || { cat "$work/sink" >&2; exit 1; }
    sleep 0.1
done
"$instance" up "$work/a" "$port" "$a" "$behind"
"$instance" up "$work/b" "$((port + 1))" "$b" "$behind"

export TRAFFIC_GEN_SINK_API="$api" TRAFFIC_GEN_WAIT_FOR_DELIVERY="${WAIT:-1m}"
$traffic_gen gate --a "127.0.0.1:$port" --b "127.0.0.1:$((port + 1))" \
    --a-queue "$work/a/spool" --b-queue "$work/b/spool" \
    --junit "${JUNIT:-gate.xml}" --history "${HISTORY:-gate.csv}" --html "${HTML:-gate.html}" "$@"
