-- The virtual servers, as the command line names them, and the arguments by
-- which policies are told of them.

local servers = {}

local FIRST_PORT = 4040
local MOST = 10000

local NEITHER = "--servers wants a number from 1 to 10000, or HOST:PORT,..., "
  .. "not '%s'"

-- Replaces the first range such as [1-20] by each of its numbers.
local function expand(text, add)
  local before, from, to, behind = text:match "^(.-)%[(%d+)%-(%d+)%](.*)$"
  if not before then return add(text) end
  if #from > 9 or #to > 9 or tonumber(from) > tonumber(to) then return end
  for i = math.tointeger(tonumber(from)), math.tointeger(tonumber(to)) do
    if not expand(("%s%d%s"):format(before, i, behind), add) then return end
  end
  return true
end

--- Reads the value of --servers: a number, or HOST:PORT with commas between
-- them, where [1-20] stands for each of these numbers, and an IPv6 address is
-- in brackets.
-- @return an array of { name = "s1", host =, port = }; or nil and why not
function servers.parse(text)
  local list = {}
  local count = text:find "^%d+$" and #text < 9 and math.tointeger(text)
  if count then
    if count < 1 or count > MOST then return nil, NEITHER:format(text) end
    for i = 1, count do list[i] = servers.next(list) end
    return list
  end
  local seen = {}
  local function add(address)
    local host, port = address:match "^(.+):(%d+)$"
    if not host or #port > 5 then return end
    host, port = host:match "^%[(.*)%]$" or host, math.tointeger(port)
    if port < 1 or port > 65535 then return end
    if seen[address] or #list == MOST then return end
    seen[address] = true
    list[#list + 1] = { name = ("s%d"):format(#list + 1), host = host,
      port = port }
    return true
  end
  for address in text:gmatch "[^,]+" do
    if not expand(address, add) then return nil, NEITHER:format(text) end
  end
  if #list == 0 then return nil, NEITHER:format(text) end
  return list
end

--- The server that is added to a list: at the port, or the address, behind that
-- of the last one.
function servers.next(list)
  local last = list[#list]
  local host, port = last and last.host or "localhost",
    last and last.port + 1 or FIRST_PORT
  if port > 65535 then host, port = "s" .. #list + 1, FIRST_PORT end
  return { name = ("s%d"):format(#list + 1), host = host, port = port }
end

local function addressOf(server)
  local host = server.host:find(":", 1, true) and "[" .. server.host .. "]"
    or server.host
  return ("%s:%d"):format(host, server.port)
end

--- The arguments of the policy: {ports} becomes one for each server, its port,
-- {addresses} one for each, HOST:PORT. None given: the ports.
function servers.arguments(args, list)
  if #args == 0 then args = { "{ports}" } end
  local all = {}
  for _, arg in ipairs(args) do
    if arg == "{ports}" or arg == "{addresses}" then
      for _, server in ipairs(list) do
        all[#all + 1] = arg == "{ports}" and tostring(server.port)
          or addressOf(server)
      end
    else
      all[#all + 1] = arg
    end
  end
  return all
end

return servers
