-- Numbered records over sockets to an echo server, for the policies of the
-- soaks: every one is to come back once and in order, whichever generation sent
-- it. Where a socket stands is in its state. A record that is wrong raises an
-- error.

local records = {}

-- The server's port, the socket's slot, and the record's number on that.
local FORM = "%05d%06d%08d\n"

--- Bytes of a record.
records.LENGTH = #FORM:format(0, 0, 0)

--- Sends records until so many are under way, or just one.
function records.send(socket, window)
  local state, list = socket.state, {}
  if not state.sent then state.sent, state.seen, state.rest = 0, 0, "" end
  window = window or state.sent - state.seen + 1
  local port, slot = socket.server.port, socket.slot
  while state.sent - state.seen < window do
    state.sent = state.sent + 1
    list[#list + 1] = FORM:format(port, slot, state.sent)
  end
  if #list > 0 then socket:write(list) end
end

--- Checks what has come.
-- @return how many records are under way still
function records.receive(socket, chunk)
  local state = socket.state
  local bytes, at = state.rest .. chunk, 1
  local port, slot = socket.server.port, socket.slot
  while #bytes - at + 1 >= records.LENGTH do
    state.seen = state.seen + 1
    local wanted = FORM:format(port, slot, state.seen)
    local got = bytes:sub(at, at + records.LENGTH - 1)
    at = at + records.LENGTH
    if got ~= wanted then error(("%q came, not %q"):format(got, wanted)) end
  end
  state.rest = bytes:sub(at)
  return state.sent - state.seen
end

return records
