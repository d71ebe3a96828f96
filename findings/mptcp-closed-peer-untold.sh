#!/bin/sh
# Multipath TCP in Linux (socat 1.7.4.4 of Debian 12): a client whose idle peer
# has closed the connection, and which then writes, line after line.
#
# Guess: as with TCP, the first line is answered by a reset, since nobody is to
# read it, and the write of the second fails.
# Seen: they are all acknowledged, and thrown away. The kernel of the peer keeps
# the closed connection for net.ipv4.tcp_fin_timeout, 60 s by default, and says
# nothing. So a connection that was closed while it was idle takes requests for a
# minute, which are lost without an error; a program that does not read learns
# of it only then.
set -eu
SOCAT=1.7.4.4-2

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq "socat=$SOCAT" >/dev/null 2>&1
dpkg -x ./*.deb root
test "$(cat /proc/sys/net/mptcp/enabled)" = 1

lines() {
  sleep 1 # the peer has closed by then
  for line in 1 2 3 4 5 6 7 8; do
    echo "$line" 2>/dev/null || break
    sleep 0.2
  done
}

# By the number of the protocol: 6 is TCP, 262 is MPTCP. An address is a port and
# an IPv4 address, as they are in memory.
talk() {
  port=$(printf '%04x' "$3")
  address=x${port}7f0000010000000000000000
  root/usr/bin/socat -u OPEN:/dev/null "SOCKET-LISTEN:2:$1:$address" &
  sleep 0.5
  if lines | root/usr/bin/socat -u - "SOCKET-CONNECT:2:$1:$address" 2>"$2"; then
    echo "all written"
  else
    sed -n 's/.*: //p' "$2"
  fi
  wait
}

# Two ports that nobody has.
set -- $(python3 -c '
import socket
found = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(each.getsockname()[1] for each in found))')
tcp=$(talk 6 tcp "$1")
mptcp=$(talk 262 mptcp "$2")

echo "Linux $(uname -r), socat $SOCAT"
echo "TCP: $tcp"
echo "MPTCP: $mptcp"
test "$tcp" = "Broken pipe"
test "$mptcp" = "all written"
