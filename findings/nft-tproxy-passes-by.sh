#!/bin/sh
# nftables 1.0.6 (Debian 12): a router whose rule hands connections to a local
# proxy, by tproxy, where the proxy's socket lacks IP_TRANSPARENT.
#
# Guess: the kernel has nowhere to put such a connection, and drops it, so that
# clients are refused or wait in vain, and somebody looks.
# Seen: the statement counts as not matching, so that the rule is left, and what
# follows in it, such as the mark and the verdict, is not done. The connection is
# routed on to where it was meant to go, and succeeds, without the proxy. It is
# the same when the proxy is not running. A counter before the statement counts
# it, as if all were well; only one behind it stays at 0.
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
nft() { root/usr/sbin/nft "$@"; }
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
ip link set lo up
wire "$client" client 198.51.100
wire "$server" server 203.0.113
echo 1 >/proc/sys/net/ipv4/ip_forward
ip rule add fwmark 1 lookup 100
ip route add local default dev lo table 100

cat >says.py <<'PYTHON'
import socket, sys
listener = socket.socket()
if sys.argv[2] == "transparent":
    listener.setsockopt(socket.IPPROTO_IP, 19, 1)
listener.bind(("127.0.0.1" if len(sys.argv) == 3 else sys.argv[3], 4040))
listener.listen()
while True:
    listener.accept()[0].sendall(sys.argv[1].encode())
PYTHON
cat >asks.py <<'PYTHON'
import socket
client = socket.create_connection(("203.0.113.2", 4040), 5)
print(client.recv(20).decode())
PYTHON
cat >rules <<'RULES'
table ip t {
  chain before {
    type filter hook prerouting priority mangle; policy accept;
    iifname client tcp dport 4040 counter tproxy to 127.0.0.1:4040 counter meta mark set 1 accept
  }
}
RULES
nft -f rules
at "$server" "exec python3 says.py server plain 203.0.113.2" &
backend=$!
trap 'kill $backend $client $server' EXIT

with() {
  env -u LD_LIBRARY_PATH python3 says.py proxy "$1" &
  proxy=$!
  sleep 0.5
  at "$client" "python3 asks.py"
  kill $proxy
  wait $proxy 2>/dev/null || :
}
transparent=$(with transparent)
nft flush ruleset
nft -f rules
plain=$(with plain)
counted=$(nft list ruleset | grep -o 'packets [0-9]*' | tr '\n' ' ')
nobody=$(at "$client" "python3 asks.py")

echo "Linux $(uname -r), nftables $NFTABLES"
echo "proxy's socket is transparent: the client reaches the $transparent"
echo "it is not: the $plain; counted before and behind: $counted"
echo "no proxy: the $nobody"
test "$transparent $plain $nobody" = "proxy server server"
echo "$counted" | grep -q '^packets [1-9][0-9]* packets 0 $'
