#!/bin/sh
# Send mail through a Postfix and count what comes out at its other end.
#
#   examples/postfix_under_test.sh HOST:PORT SINK_PORT [MESSAGES] [CONFIG_DIRECTORY]
#
# Postfix is to relay everything to this machine, so that nothing can leave it:
#   relayhost = [127.0.0.1]:SINK_PORT      smtp_dns_support_level = disabled
set -eu

target=$1
sink_port=$2
messages=${3:-1000}
config=${4:-/etc/postfix}
traffic_gen=${TRAFFIC_GEN:-traffic-gen}

log=$(mktemp)
$traffic_gen sink "$sink_port" 2>"$log" &
sink=$!
trap 'kill "$sink" 2>/dev/null || true; rm -f "$log"' EXIT
until grep -q listening "$log"; do
    kill -0 "$sink" || { cat "$log" >&2; exit 1; }
    sleep 0.1
done

$traffic_gen --target "$target" --message-count "$messages" --concurrency 20

# A message is accepted when Postfix has put it into its queue; it has arrived when it has left the queue for the sink.
until postqueue -c "$config" -p | grep -q "Mail queue is empty"; do
    sleep 0.2
done

kill -INT "$sink"
wait "$sink"
tail -n 1 "$log"
