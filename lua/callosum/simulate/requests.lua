--- In the state of a policy: makes requests through the pools that the policy
-- makes, as a program of the policy's author would. A request is a line, and so
-- is its answer.

local pool = require "callosum.pool"

local REQUEST = "request\n"

local pools = {} -- those that the policy has made

local new = pool.new

-- Errors are those of pool.new, at the policy's line.
function pool.new(...)
  local ok, made = pcall(new, ...)
  if not ok then
    if type(made) == "string" then made = made:gsub("'%?'", "'new'", 1) end
    error(made, 2)
  end
  pools[#pools + 1] = made
  return made
end

-- A pool, each in turn, which gives a socket or will do so later; nil if there
-- is none.
local function choose(turn)
  while #pools > 0 do
    local at = turn % #pools + 1
    local own = pools[at]
    local socket, _, code = own:getConnection()
    if code ~= "ECANCELED" then return own, socket end
    table.remove(pools, at) -- it is closed
  end
end

--- Called for each state, with functions that take the number of a request.
---@param answered fun(id: integer)
---@param lost fun(id: integer)
---@return fun(id: integer, turn: integer): boolean? ask makes a request: returns
--- whether it has to wait for a connection, or nil if there is no pool
return function(answered, lost)
  local function use(own, socket, id)
    local done = false
    socket:on("data", function(chunk)
      if done or chunk:byte(-1) ~= 10 then return end
      done = true
      answered(id)
      own:returnConnection(socket)
    end)
    socket:on("close", function()
      if done then return end
      done = true
      lost(id)
    end)
    socket:write(REQUEST)
  end

  return function(id, turn)
    local own, socket = choose(turn)
    if not own then return nil end
    if socket then
      use(own, socket, id)
      return false
    end
    local waits = own:requestConnection(function(given)
      if given then use(own, given, id) else lost(id) end
    end)
    if not waits then lost(id) end
    return true
  end
end
