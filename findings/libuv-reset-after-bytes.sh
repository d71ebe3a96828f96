#!/bin/sh
# libuv 1.44.2 (Debian 12): a peer that resets the connection right after it has
# sent some bytes.
#
# Guess: the bytes are read, then uv_read_start()'s callback is called with
# ECONNRESET, as read() is with a plain socket.
# Seen: after the bytes it is called with EOF, as if the peer had ended in order,
# where both have arrived when the loop polls. Without bytes it is ECONNRESET. So
# that a stream ended in order does not show that it is complete.
set -eu
LIBUV=1.44.2-1+deb12u1 LUV=1.44.2-0-1 LUA=5.4.4-3+deb12u1

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq "libuv1=$LIBUV" "lua-luv=$LUV" "lua5.4=$LUA" \
  "liblua5.4-0=$LUA" >/dev/null 2>&1
for package in *.deb; do dpkg -x "$package" root; done
libraries=$(dirname "$(find root -name 'libuv.so.1')")
modules=$(dirname "$(find root -path '*/lua/5.4/luv.so')")
LD_LIBRARY_PATH=$dir/$libraries LUA_CPATH_5_4=$dir/$modules/?.so
export LD_LIBRARY_PATH LUA_CPATH_5_4

cat >reset.lua <<'END'
local uv = require "luv"
local server, client, peer = uv.new_tcp(), uv.new_tcp(), nil
local unready, seen = 2, {}
local function ready()
  unready = unready - 1
  if unready > 0 then return end
  if arg[1] then assert(peer:try_write(arg[1]) == #arg[1]) end
  peer:close_reset()
end
assert(server:bind("127.0.0.1", 0))
assert(server:listen(1, function()
  peer = uv.new_tcp()
  assert(server:accept(peer))
  server:close()
  ready()
end))
client:connect("127.0.0.1", server:getsockname().port, function(err)
  assert(not err, err)
  client:read_start(function(err, bytes)
    seen[#seen + 1] = err or bytes or "EOF"
    if not bytes then client:close() end
  end)
  ready()
end)
uv.run()
print(table.concat(seen, " "))
END

without=$(root/usr/bin/lua5.4 reset.lua)
with=$(root/usr/bin/lua5.4 reset.lua bytes)
echo "libuv $LIBUV, luv $LUV"
echo "a reset alone: $without"
echo "a reset right after bytes: $with"
test "$without" = "ECONNRESET"
test "$with" = "bytes EOF"
