#!/bin/sh
# Bring a private Postfix up or down: own configuration, queue and data, on one loopback port. Needs root.
#
#   examples/ci/postfix_instance.sh up DIRECTORY PORT [SETTINGS [SINK_PORT]]     SETTINGS: lines for main.cf
#   examples/ci/postfix_instance.sh down DIRECTORY
#
# It delivers everything to SINK_PORT on this machine, or throws it away (discard(8)) without one: nothing can leave the
# machine. `up` begins with an empty queue.
set -eu

command=$1
root=$2

if [ "$command" = down ]; then
    postfix -c "$root/etc" stop >/dev/null 2>&1 || true
    while postfix -c "$root/etc" status >/dev/null 2>&1; do sleep 0.05; done
    exit 0
fi

port=$3
settings=${4:-/dev/null}
transport=${5:+smtp:[127.0.0.1]:$5}
transport=${transport:-discard:}
rm -rf "$root"
mkdir -p "$root/etc" "$root/spool" "$root/data"
chmod 755 "$root" "$root/etc" "$root/spool"
chown postfix "$root/data"
cat >"$root/etc/main.cf" <<MAIN
compatibility_level = 3.6
queue_directory = $root/spool
data_directory = $root/data
maillog_file = $root/log
maillog_file_prefixes = $root
myhostname = mx.traffic-gen.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtp_dns_support_level = disabled
default_transport = $transport
relay_transport = $transport
smtp_tls_security_level = none
alias_maps =
local_recipient_maps =
default_process_limit = 100
smtpd_client_connection_count_limit = 0
smtpd_relay_restrictions = permit_mynetworks, reject
MAIN
cat "$settings" >>"$root/etc/main.cf"
cat >"$root/etc/master.cf" <<MASTER
127.0.0.1:$port inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
smtp unix - - n - - smtp
scache unix - - n - 1 scache
anvil unix - - n - 1 anvil
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
MASTER
postfix -c "$root/etc" start >"$root/start" 2>&1 || { cat "$root/start" >&2; exit 1; }
