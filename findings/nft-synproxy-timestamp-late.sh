#!/bin/sh
# nftables 1.0.6 (Debian 12) on Linux 6.18: synproxy before a server that
# speaks first, such as one of SMTP or SSH.
#
# Guess: with the proxy's options those of the server (mss, wscale, sack-perm,
# timestamp), as its examples have it, a greeting is late by a round trip.
# Seen: with timestamp it is late by a second, on each connection. The server's
# kernel discards the proxy's acknowledgement of its SYN for the time stamp that
# it echoes (TSEcrRejected in nstat), and takes the next one, when it has sent its
# part again. A client that speaks first does not notice, as its request serves
# for that; nor does anybody without timestamp.
set -eu
NFTABLES=1.0.6-2+deb12u2 NFTNL=1.2.4-2

if test "${1-}" != within; then
  dir=$(mktemp -d)
  trap 'rm -rf "$dir"' EXIT
  script=$(realpath "$0")
  cd "$dir"
  apt-get download -qq "nftables=$NFTABLES" "libnftables1=$NFTABLES" \
    "libnftnl11=$NFTNL" >/dev/null 2>&1
  for package in *.deb; do dpkg -x "$package" root; done
  LD_LIBRARY_PATH=$dir/$(dirname "$(find root -name 'libnftables.so.1')") \
    unshare --map-root-user --net --pid --fork --mount-proc --kill-child \
    sh "$script" within
  exit
fi

# We are the router; client and server are namespaces of their own.
unshare --net sleep 60 &
client=$!
unshare --net sleep 60 &
server=$!
trap 'kill $client $server' EXIT
sleep 0.3
at() { nsenter --target "$1" --net -- env -u LD_LIBRARY_PATH sh -c "$2"; }

wire() { # PID INTERFACE NETWORK
  ip link add "$2" type veth peer name eth0 netns "$1"
  ip address add "$3.1/24" dev "$2"
  ip link set "$2" up
  at "$1" "ip link set lo up; ip address add $3.2/24 dev eth0
    ip link set eth0 up; ip route add default via $3.1"
}
wire "$client" client 198.51.100
wire "$server" server 203.0.113
echo 1 >/proc/sys/net/ipv4/ip_forward

cat >server.py <<'PYTHON'
import socket, threading

def serve(port, greets):
    listener = socket.create_server(("203.0.113.2", port))
    while True:
        peer = listener.accept()[0]
        if not greets:
            peer.recv(10)
        peer.sendall(b"hello")
        peer.recv(10)
        peer.close()

threading.Thread(target=serve, args=(2500, True)).start()
serve(8000, False)
PYTHON
cat >client.py <<'PYTHON'
import socket, sys, time

for port, request in (2500, b""), (8000, b"GET"):
    worst = 0
    for _ in range(3):
        began = time.monotonic()
        client = socket.create_connection(("203.0.113.2", port), 5)
        client.sendall(request)
        client.settimeout(5)
        assert client.recv(10) == b"hello"
        worst = max(worst, time.monotonic() - began)
        client.close()
    print("late" if worst > 0.9 else "at once", end=" ")
PYTHON
at "$server" "exec python3 server.py" &
backend=$!
trap 'kill $backend $client $server' EXIT
sleep 0.5

# Whether the two greet late, with some of the options.
with() {
  root/usr/sbin/nft flush ruleset
  root/usr/sbin/nft -f - <<RULES
table ip t {
  chain before {
    type filter hook prerouting priority raw; policy accept;
    iifname client tcp flags syn notrack
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname client ct state invalid,untracked synproxy mss 1460 wscale 7 $1
    ct state invalid drop
  }
}
RULES
  at "$client" "python3 client.py"
}
echo 0 >/proc/sys/net/netfilter/nf_conntrack_tcp_loose
with sack-perm >/dev/null # they have found each other
plain=$(with sack-perm)
stamped=$(with "sack-perm timestamp")

echo "Linux $(uname -r), nftables $NFTABLES"
echo "a server that speaks first, and one that does not: $plain"
echo "the same with timestamp: $stamped"
test "$plain$stamped" = "at once at once late at once "
