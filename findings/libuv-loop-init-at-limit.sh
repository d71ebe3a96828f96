#!/bin/sh
# libuv 1.44.2 (Debian 12): a loop that cannot be made for want of descriptors.
#
# Guess: uv_loop_init() that fails has closed again what it opened, as other
# functions do that fail.
# Seen: the descriptor of the loop's epoll stays open, one for each call that
# fails behind its creation, and nothing tells which it is. Who tries again and
# again at the limit of descriptors thus uses up those that become free.
set -eu
LIBUV=1.44.2-1+deb12u1

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq "libuv1=$LIBUV" >/dev/null 2>&1
dpkg -x ./*.deb root

# The first loop of a process also makes what all of them share.
cat >loops.py <<'END'
import ctypes, os, resource, sys

uv = ctypes.CDLL(sys.argv[1])
uv.uv_err_name.restype = uv.uv_version_string.restype = ctypes.c_char_p
uv.uv_loop_size.restype = ctypes.c_size_t
loops = [ctypes.create_string_buffer(uv.uv_loop_size()) for _ in range(9)]
assert uv.uv_loop_init(loops[0]) == 0

def opened():
    kinds = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            kinds.append(os.readlink("/proc/self/fd/" + fd))
        except OSError:
            pass  # that of the folder itself
    return kinds

print("libuv", uv.uv_version_string().decode())
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
for room in 0, 1, 2, 3:
    first = os.dup(0)  # the lowest that is free
    os.close(first)
    before = opened().count("anon_inode:[eventpoll]")
    resource.setrlimit(resource.RLIMIT_NOFILE, (first + room, most))
    status = uv.uv_loop_init(loops[room + 1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    left = opened().count("anon_inode:[eventpoll]") - before
    print("room for", room, uv.uv_err_name(status).decode() + ",",
          left, "left open")
END
seen=$(python3 loops.py "$(find root -name libuv.so.1)")
echo "$seen"
test "$seen" = "libuv 1.44.2
room for 0 EMFILE, 0 left open
room for 1 EMFILE, 1 left open
room for 2 EMFILE, 1 left open
room for 3 EMFILE, 1 left open"
