#!/bin/sh
# libuv 1.44.2 (Debian 12): a server that has run out of descriptors.
#
# Guess: the callback of uv_listen() is called with EMFILE, and clients wait in
# the kernel's queue until there are descriptors again.
# Seen: libuv keeps a descriptor to spare, accepts each client with it and closes
# that at once. The callback is not called, so the server cannot tell of it, and
# clients see a connection that opens and ends in order.
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

cat >server.lua <<'END'
local uv = require "luv"
local calls = 0
local server = uv.new_tcp()
assert(server:bind("127.0.0.1", 0))
assert(server:listen(128, function() calls = calls + 1 end))
local held = {}
repeat held[#held + 1] = io.open "/dev/null" until not io.open "/dev/null"
print(server:getsockname().port)
io.stdout:flush()
uv.new_timer():start(700, 0, function() uv.stop() end)
uv.run()
print(calls)
END

cat >clients.lua <<'END'
local uv = require "luv"
local opened, ended, failed = 0, 0, 0
for _ = 1, 5 do
  local client = uv.new_tcp()
  client:connect("127.0.0.1", tonumber(arg[1]), function(err)
    if err then failed = failed + 1 return client:close() end
    opened = opened + 1
    client:read_start(function(err, data)
      if err then failed = failed + 1
      elseif not data then ended = ended + 1 end
      client:close()
    end)
  end)
end
uv.new_timer():start(400, 0, function() uv.stop() end)
uv.run()
print(("%d opened, %d ended in order, %d failed"):format(opened, ended, failed))
END

lua=root/usr/bin/lua5.4
(ulimit -n 40; exec "$lua" server.lua >server.out) &
for _ in 1 2 3 4 5 6 7 8 9 10; do
  test -s server.out && break
  sleep 0.05
done
clients=$("$lua" clients.lua "$(head -n 1 server.out)")
wait
calls=$(tail -n 1 server.out)

echo "libuv $LIBUV, luv $LUV"
echo "clients: $clients"
echo "calls of the server's callback: $calls"
test "$clients" = "5 opened, 5 ended in order, 0 failed"
test "$calls" = 0
