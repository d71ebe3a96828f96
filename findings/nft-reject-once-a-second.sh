#!/bin/sh
# nftables 1.0.6 (Debian 12): a firewall that rejects connections, so that
# clients need not wait, and a client that tries one after another, as those of a
# fleet do whose servers are behind it.
#
# Guess: each of them is refused at once, since that is what reject is for.
# Seen: six are. Then the answers, which are ICMP's, keep to one a second for each
# address that they go to (net.ipv4.icmp_ratelimit), whatever they are about; the
# others are not refused before SYN has been sent again, and where the client's
# deadline is shorter than that, the firewall looks like a host that is down.
# With "reject with tcp reset" all are refused at once, of any number.
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

# We are the host with the firewall; the client is a namespace of its own.
unshare --net sleep 60 &
client=$!
trap 'kill $client' EXIT
sleep 0.3
at() { nsenter --target "$1" --net -- env -u LD_LIBRARY_PATH sh -c "$2"; }
ip link add client type veth peer name eth0 netns "$client"
ip address add 198.51.100.1/24 dev client
ip link set client up
at "$client" "ip address add 198.51.100.2/24 dev eth0; ip link set eth0 up"

cat >client.py <<'PYTHON'
import select, socket, time

# The first packet of all waits until the two know each other.
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"", ("198.51.100.1", 9))
time.sleep(0.5)
quick = 0
for port in range(4040, 4060):
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex(("198.51.100.1", port))
    poll = select.poll()
    poll.register(client, select.POLLOUT)
    if poll.poll(50):
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 111
        quick += 1
    client.close()
print(quick)
PYTHON

with() {
  root/usr/sbin/nft flush ruleset
  root/usr/sbin/nft -f - <<RULES
table ip t {
  chain input {
    type filter hook input priority filter; policy accept;
    meta l4proto tcp $1
  }
}
RULES
  at "$client" "python3 client.py"
}
icmp=$(with reject)
reset=$(with "reject with tcp reset")

echo "Linux $(uname -r), nftables $NFTABLES"
echo "of 20 connections in a second, refused within 50 ms: $icmp"
echo "the same with tcp reset: $reset"
test "$icmp" -ge 4 && test "$icmp" -le 8
test "$reset" = 20
