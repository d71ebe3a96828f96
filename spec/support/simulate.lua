-- Runs of `callosum-rover simulate`: `require "support".simulate`.

local json = require "dkjson"
local files = require "support.files"
local own = require "support.command"

local simulate = {}

local LIMIT = 120 -- seconds: it computes, and the machine may be loaded

--- A policy that keeps so many of the sockets with the lowest slots.
function simulate.keep(limit)
  return ([[
local host = require "callosum.host"
local rover = require "callosum.rover"
local r = rover.new { rovingInterval = 1000 }
for _, port in ipairs(host.args) do
  r:addServer(port, { host = "localhost", port = tonumber(port) })
end
r:on("connection", function()
  local sockets = r:sockets()
  if #sockets > %d then sockets[#sockets]:close() end
end)
r:on("error", function() end)
r:start()
]]):format(limit)
end

--- A policy with a pool, of options in Lua.
function simulate.pool(options)
  return ([[
local host = require "callosum.host"
local r = require "callosum.rover".new()
for _, port in ipairs(host.args) do
  r:addServer(port, { host = "localhost", port = tonumber(port) })
end
POOL = require "callosum.pool".new { %s }:attach(r)
r:on("error", function() end)
r:start()
]]):format(options or "maxSlots = 10")
end

--- Runs the command to its end.
-- @param args array of its words behind `simulate`
-- @param options as of `support.command`
-- @return the child
function simulate.ended(args, options)
  local child = own.command({ "simulate", table.unpack(args) }, options)
  child.status, child.signal = child:wait(LIMIT)
  if child.signal ~= 0 then error(child.output, 2) end
  return child
end

--- Runs policies in small fleets, and returns what --json says.
-- @param scripts a text, or an array of texts
-- @param args array of options
-- @return the document, decoded; its `status` is the command's, its `stderr`
--   what it wrote there
function simulate.run(scripts, args, options)
  local words = { "--json", table.unpack(args or {}) }
  if type(scripts) == "string" then scripts = { scripts } end
  for _, script in ipairs(scripts) do
    words[#words + 1] = files.tmpfile(script)
  end
  local child = simulate.ended(words, options)
  local document, _, err = json.decode(child.stdout, 1, nil)
  if not document then error(("%s\n%s"):format(err, child.output), 2) end
  document.status, document.stderr = child.status, child.stderr
  return document
end

return simulate
