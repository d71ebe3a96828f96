-- What a pool counts that it does not keep in its books: name, type, description,
-- and a function that returns the value. The manual and the annotations are
-- generated from this as well.

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
  { "servers", "table<string, integer>",
    "How many connections are held to each server, by id.", servers },
  { "slots", "integer[]", "The slots of the connections held, ascending.",
    slots },
}
