-- Kept sockets for tests: `require "support.sockets"`.

local uv = require "luv"
local loop = require "support.loop"
local rovers = require "support.rovers"
local tcp = require "support.tcp"

local sockets = {}

--- More than the buffers of both ends hold: a write of this stays pending
-- while the other side does not read.
sockets.PLENTY = 16 * 1024 * 1024

--- Makes bytes in numbered blocks, so that bytes lost, doubled or swapped are
-- seen.
-- @param length how many, a multiple of 256
function sockets.bytes(length)
  local rest = ("0123456789\0\r\n\xff\xc3("):rep(15) .. "<numbered>\n\0"
  local blocks = {}
  for i = 1, length // 256 do blocks[i] = ("<I4"):pack(i) .. rest end
  return table.concat(blocks)
end

--- Compares long strings; assert.equal would print them.
-- @param expected a string
-- @param actual a string
function sockets.same(expected, actual)
  if expected == actual then return end
  local i = 1
  while expected:byte(i) == actual:byte(i) do i = i + 1 end
  error(("%d bytes and not %d, other from byte %d on")
    :format(#actual, #expected, i), 2)
end

--- Makes a server and a rover that keeps one connection to it, in slot 7.
-- @param options nil, or options of the rover
-- @param script nil, or a script as for `serve`; to `send` other bytes, begin
--   them with the slot line
-- @return the socket, the server's end of it, the rover, the server
function sockets.keep(options, script)
  local server = tcp.serve(script or { send = "7\r\n" })
  local own = { port = server.port }
  for name, value in pairs(options or {}) do own[name] = value end
  local rover = rovers.rover(own)
  local event = rovers.attempt(rover, rovers.record(rover))
  assert(event and event.event == "connection")
  return event.socket, server.peers[1], rover, server
end

--- Makes a kept socket that its methods do not treat specially (see
-- support.rovers), so that misuse is blamed on its real caller.
-- @return the socket and the peer
function sockets.plain()
  local server = tcp.serve { send = "7\r\n" }
  local rover = require("callosum.rover").new {
    servers = { s = { host = "127.0.0.1", port = server.port } },
  }
  loop.atEnd(function() rover:close() end)
  local socket
  rover:on("connection", function(_, s) socket = s end)
  rover:connect()
  loop.run(function() return socket end)
  return socket, server.peers[1]
end

--- Checks that its arguments are what the methods of a closed socket return.
function sockets.assertClosed(...)
  local result, message, code = ...
  if select("#", ...) ~= 3 or result ~= nil or code ~= "ENOTCONN"
      or message ~= "the socket is closed" then
    error(("the socket is not closed: %s, %s, %s"):format(result, message,
      code), 2)
  end
end

--- Notes a socket's events, in order: "end", "drain", "close" or the likes of
-- "close ECONNRESET", and if asked to, "data " with the bytes that came in a
-- row.
-- @param socket the socket
-- @param data whether to listen to data
-- @return the array of notes
function sockets.note(socket, data)
  local notes = {}
  local function add(text) notes[#notes + 1] = text end
  local function onData(chunk)
    local last = notes[#notes]
    if last and last:sub(1, 5) == "data " then notes[#notes] = last .. chunk
    else add("data " .. chunk) end
  end
  socket:on("end", function() add("end") end)
  socket:on("drain", function() add("drain") end)
  socket:on("close", function(err)
    add("close" .. (err and " " .. err.code or ""))
  end)
  if data then socket:on("data", onData) end
  return notes
end

--- Runs until a socket is closed and its close event has come.
-- @param notes what `note` made of it
function sockets.untilClosed(notes)
  loop.run(function() return (notes[#notes] or ""):match("^close") end)
end

--- Runs the loop until whatever has happened on any connection so far has been
-- told: two round trips of a connection that is younger.
function sockets.settle()
  local echo = tcp.serve { send = "a\r\n", connection = function(peer)
    peer.handle:read_stop()
    peer.handle:read_start(function(err, chunk)
      assert(not err, err)
      if chunk then peer.handle:write(chunk) end
    end)
  end }
  local client = tcp.connect(echo.port)
  client:line()
  client:write("b\r\n"):line()
  client:close()
  echo:close()
end

--- Has a peer read no more.
-- @param peer the peer
-- @return the peer
function sockets.deaf(peer)
  peer.handle:read_stop()
  return peer
end

--- Has a peer gather what comes in pieces, which is cheaper than `received`
-- where much comes.
-- @param peer the peer
-- @return a table: `length` (how many bytes came so far), `over` (true once
--   the other side has ended, or the name of the error), `text()` (the bytes)
function sockets.gather(peer)
  local pieces = {}
  local got = { length = 0, over = false }
  function got.text() return table.concat(pieces) end
  peer.handle:read_stop()
  assert(peer.handle:read_start(function(err, chunk)
    if not chunk then
      got.over = err or true
      return
    end
    pieces[#pieces + 1] = chunk
    got.length = got.length + #chunk
  end))
  return got
end

--- Has a peer send back what comes.
-- @param peer the peer
function sockets.echo(peer)
  peer.handle:read_stop()
  peer.handle:read_start(function(_, chunk)
    if chunk and not peer.handle:is_closing() then peer.handle:write(chunk) end
  end)
end

--- Opens a descriptor with luv, and reads.
-- @param descriptor the descriptor
-- @return luv's handle, which is closed when the test ends, and what `gather`
--   gives
function sockets.open(descriptor)
  local handle = uv.new_tcp()
  loop.atEnd(function()
    if not handle:is_closing() then handle:close() end
  end)
  assert(handle:open(descriptor))
  return handle, sockets.gather { handle = handle }
end

return sockets
