#!/bin/sh
# Varnish 7.1.1 (Debian 12): a listener with PROXY, before which a proxy has a
# client without an address, such as one of its Unix socket.
#
# Guess: both ways to say so are accepted, "PROXY UNKNOWN" of version 1 and LOCAL
# of version 2, since the protocol has them for that: the address is then that of
# the connection itself.
# Seen: LOCAL is accepted, and a version 2 header of the family UNSPEC or UNIX,
# too. But after "PROXY UNKNOWN" the connection is closed without an answer, be it
# with addresses behind it or without. So with version 1, health checks and
# clients of Unix sockets fail, while all others work.
set -eu
VARNISH=7.1.1-2+deb12u1

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq "varnish=$VARNISH" "libvarnishapi3=$VARNISH" libjemalloc2 \
  libedit2 libbsd0 libncursesw6 libpcre2-8-0 >/dev/null 2>&1
for package in *.deb; do dpkg -x "$package" root; done
library=$dir/$(dirname "$(find root -name 'libvarnishapi.so.3')")
LD_LIBRARY_PATH=$library:$library/varnish
export LD_LIBRARY_PATH

cat >answers.vcl <<'VCL'
vcl 4.1;
backend none none;
sub vcl_recv { return (synth(200)); }
VCL
cat >headers.py <<'PYTHON'
import socket, sys, time

signature = b"\r\n\r\n\0\r\nQUIT\n"
for header in (
    b"PROXY TCP4 192.0.2.1 192.0.2.2 5000 80\r\n",
    b"PROXY UNKNOWN\r\n",
    b"PROXY UNKNOWN 192.0.2.1 192.0.2.2 5000 80\r\n",
    signature + b"\x20\0\0\0",  # LOCAL
    signature + b"\x21\0\0\0",  # UNSPEC
    signature + b"\x21\x31\0\xd8" + bytes(216),  # UNIX
):
    for _ in range(200):
        try:
            client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5)
            break
        except ConnectionRefusedError:
            time.sleep(0.1)  # it is not there yet
    client.sendall(header + b"GET / HTTP/1.0\r\n\r\n")
    answer = client.recv(12)
    print("answered" if answer == b"HTTP/1.1 200" else "closed", end=" ")
PYTHON
port=$(python3 -c '
import socket
print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
root/usr/sbin/varnishd -F -n "$dir/work" -f "$dir/answers.vcl" \
  -a "127.0.0.1:$port,PROXY" -p "vmod_path=$library/varnish/vmods" \
  -j none >log 2>&1 &
varnish=$!
trap 'kill $varnish; wait $varnish 2>/dev/null || :; rm -rf "$dir"' EXIT
seen=$(python3 headers.py "$port")

echo "Varnish $VARNISH"
echo "TCP4, UNKNOWN, UNKNOWN with addresses, LOCAL, UNSPEC, UNIX: $seen"
test "$seen" = "answered closed closed answered answered answered "
