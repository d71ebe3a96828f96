-- The counters of a pool: name, type, description, and a function that returns
-- the value. The manual and the annotations are generated from this as well.

local function slots(pool)
  local list = {}
  for _, entry in pairs(pool.entries) do
    if entry.held then list[#list + 1] = entry.slot end
  end
  table.sort(list)
  return list
end

local function servers(pool)
  local sizes = {}
  for id, server in pairs(pool.servers) do sizes[id] = #server.held end
  return sizes
end

return {
  { "size", "integer", "Connections held, idle or leased; at most `maxSlots`.",
    function(pool) return #pool.held end },
  { "idle", "integer", "Connections that can be lent out.",
    function(pool) return #pool.idle end },
  { "leased", "integer", "Connections that are lent out.",
    function(pool) return pool.leased end },
  { "retiring", "integer", [[
Connections that are lent out and no longer held, as a lower slot has taken
their place or the server has ended them. They are closed when returned.]],
    function(pool) return pool.retiring end },
  { "waiting", "integer", "Requests in the queue.",
    function(pool) return #pool.line end },
  { "servers", "table<string, integer>",
    "How many connections are held to each server, by id.", servers },
  { "slots", "integer[]", "The slots of the connections held, ascending.",
    slots },
  { "kept", "integer", "New connections that were kept.",
    function(pool) return pool.kept end },
  { "rejected", "integer", "New connections that were closed.",
    function(pool) return pool.rejected end },
  { "unsolicited", "integer", "Connections closed for unsolicited bytes.",
    function(pool) return pool.unsolicited end },
}
