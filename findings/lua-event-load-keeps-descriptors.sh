#!/bin/sh
# lua-event 0.4.6 (Debian 12): a program that closes its Lua state and makes
# another, to load a script anew.
#
# Guess: require "luaevent.core" opens nothing before an event base is made, and
# what is made is freed with the state.
# Seen: each state that requires it, and does no more, leaves three descriptors
# behind: an epoll, an eventfd and the like. They belong to no object, so that
# neither the collector nor the end of the state closes them. A base that is
# made is freed when it is collected.
set -eu
EVENT=0.4.6-2+b1 LIBEVENT=2.1.12-stable-8+deb12u1 LUA=5.4.4-3+deb12u1

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq "lua-event=$EVENT" "libevent-core-2.1-7=$LIBEVENT" \
  "libevent-2.1-7=$LIBEVENT" "liblua5.4-0=$LUA" >/dev/null 2>&1
for package in *.deb; do dpkg -x "$package" root; done
LD_LIBRARY_PATH=$dir/$(dirname "$(find root -name liblua5.4.so.0)")
core=$(find root -path '*/lua/5.4/luaevent/core.so')
LUA_CPATH_5_4=$dir/${core%luaevent/core.so}?.so
export LD_LIBRARY_PATH LUA_CPATH_5_4

cat >states.py <<'END_OF_STATES'
import ctypes, os

lua = ctypes.CDLL("liblua5.4.so.0", ctypes.RTLD_GLOBAL)
lua.luaL_newstate.restype = lua.lua_tolstring.restype = ctypes.c_void_p

def descriptors():
    return len(os.listdir("/proc/self/fd"))

def run(script):
    state = ctypes.c_void_p(lua.luaL_newstate())
    lua.luaL_openlibs(state)
    failed = (lua.luaL_loadstring(state, script.encode()) or
              lua.lua_pcallk(state, 0, 0, 0, ctypes.c_ssize_t(0), None))
    assert not failed, ctypes.string_at(lua.lua_tolstring(state, -1, None))
    lua.lua_close(state)

for script in (
    "",
    'require "luaevent.core"',
    'local core = require "luaevent.core"\n'
    "for _ = 1, 10 do core.new() end collectgarbage()",
):
    before = descriptors()
    for _ in range(50):
        run(script)
    print(descriptors() - before, end=" ")
print()
END_OF_STATES
seen=$(python3 states.py)
echo "lua-event $EVENT, libevent $LIBEVENT"
echo "descriptors left by 50 states without it, with it, with bases: $seen"
test "$seen" = "0 150 150 "
