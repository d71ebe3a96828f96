#!/bin/sh
# glibc 2.36 (Debian 12): getaddrinfo() of a name with so many addresses that the
# answer has to be fetched by TCP, from a name server that closes each connection
# once it has answered a query.
#
# Guess: the queries for A and AAAA are sent by two connections; or by one, and
# what is not answered is asked again by another.
# Seen: both are sent by one, and if it ends behind the first answer, both are
# asked again in the same way, and then the look-up fails for the time being
# (EAI_AGAIN), though all addresses have arrived, twice. single-request and
# single-request-reopen, which are for servers that mind such pairs, change
# nothing about TCP. Whoever asks for IPv4 alone gets the addresses.
set -eu
GLIBC=2.36-9+deb12u14

if test "${1-}" != within; then
  dir=$(mktemp -d)
  trap 'rm -rf "$dir"' EXIT
  script=$(realpath "$0")
  cd "$dir"
  apt-get download -qq "libc6=$GLIBC" >/dev/null 2>&1
  dpkg -x ./*.deb root
  unshare --map-root-user --net --mount --kill-child sh "$script" within
  exit
fi

cat >server.py <<'PYTHON'
import socket, struct, sys, threading

each = sys.argv[1] == "each"  # a connection for each query

def answer(query, truncated):
    end = query.index(0, 12) + 5  # of the question
    count = 40 if query[end - 3] == 1 and not truncated else 0
    flags = 0x8380 if query[end - 3] == 1 and truncated else 0x8180
    return (query[:2] + struct.pack(">HHHHH", flags, 1, count, 0, 0) +
            query[12:end] + b"".join(
                b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2" + bytes([i])
                for i in range(count)))

def serve(peer):
    while size := peer.recv(2):
        reply = answer(peer.recv(struct.unpack(">H", size)[0]), False)
        peer.sendall(struct.pack(">H", len(reply)) + reply)
        if each:
            break
    peer.close()

def accept(listener):
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],)).start()

listener = socket.create_server(("127.0.0.1", 53))
threading.Thread(target=accept, args=(listener,)).start()
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
print("ready", flush=True)
while True:
    query, client = server.recvfrom(512)
    server.sendto(answer(query, True), client)
PYTHON
cat >lookup.c <<'C'
#define _POSIX_C_SOURCE 200809L
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

static void lookup(int family) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = family};
  struct addrinfo *found = NULL;
  int err = getaddrinfo("fleet.example", "5432", &hints, &found), count = 0;
  for (struct addrinfo *each = found; each; each = each->ai_next) count++;
  printf(err == EAI_AGAIN ? "EAI_AGAIN " : "%d ", count);
}

int main(void) {
  lookup(AF_UNSPEC);
  lookup(AF_INET);
  return 0;
}
C
cc -o lookup lookup.c
loader=$(find root -name 'ld-linux*.so.?' | head -n 1)
library=$(dirname "$(find root -name libc.so.6)")
ip link set lo up
echo "hosts: dns" >order
: >resolv
mount --bind order /etc/nsswitch.conf
mount --bind resolv /etc/resolv.conf

with() { # HOW OPTIONS...
  : >ready
  python3 server.py "$1" >ready 2>/dev/null &
  server=$!
  until test -s ready; do sleep 0.05; done
  shift
  for options; do
    printf 'nameserver 127.0.0.1\noptions %s\n' "$options" >resolv
    "$loader" --library-path "$library" ./lookup
  done
  kill $server
  wait $server 2>/dev/null || :
}
all=$(with all timeout:1)
each=$(with each timeout:1 single-request single-request-reopen)

echo "glibc $GLIBC"
echo "addresses found by AF_UNSPEC, and by AF_INET:"
echo "  of a server that answers all: $all"
echo "  of one that closes, and with single-request, and -reopen: $each"
test "$all" = "40 40 "
test "$each" = "EAI_AGAIN 40 EAI_AGAIN 40 EAI_AGAIN 40 "
