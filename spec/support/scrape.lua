-- Metrics of a policy that spec/programs/scrape.c runs.

local json = require "dkjson"
local assert = require "luassert"
local command = require "support.command"
local files = require "support.files"
local loop = require "support.loop"
local process = require "support.process"

local scrape = {}

local program = command.EXECUTABLE:gsub("[^/]*$", "programs/scrape")

local host = {}
local hostMeta = { __name = "support.scrape", __index = host }

-- Runs the loop until what the host answers matches, and returns what precedes
-- that, and the captures.
local function answer(self, pattern)
  local first, last
  loop.run(function()
    first, last = self.child.stdout:find(pattern, self.read)
    return first or self.child.code
  end)
  if not first then error(self.child.output, 3) end
  local before = self.child.stdout:sub(self.read, first - 1)
  self.read = last + 1
  return before, self.child.stdout:sub(first, last):match(pattern)
end

local function decoded(self, words)
  self.child:write(words .. "\n")
  local text, us = answer(self, "== (%d+) us[^\n]+\n")
  local value, _, err = json.decode(text)
  if err then error(err .. ": " .. text, 3) end
  return value, tonumber(us) / 1000
end

--- Asks for metrics.
-- @param options words: "openmetrics", "all", "none", a limit
-- @return the text, and the most ms of CPU time that a piece took
function host:text(options)
  self.child:write("metrics " .. (options or "") .. "\n")
  local text, us = answer(self, "== (%d+) us[^\n]+\n")
  return text, tonumber(us) / 1000
end

--- Has the host make metrics, without writing them.
-- @param options as of `text`
-- @return the most ms of CPU time that a piece took, those of all, and how many
--   lines there were
function host:measure(options)
  self.child:write("metrics quiet " .. (options or "") .. "\n")
  local _, us, cpu, lines =
    answer(self, "== (%d+) us, (%d+) us, (%d+) lines\n")
  return tonumber(us) / 1000, tonumber(cpu) / 1000, tonumber(lines)
end

--- Asks for metrics.
-- @param options as of `text`
-- @return a table of the values by sample, as in 'x_total{rover="main"}'
function host:samples(options)
  local samples = {}
  for line in (self:text(options)):gmatch "[^\n]+" do
    local sample, value = line:match "^([^#].-) (%S+)$"
    if sample then
      assert(not samples[sample], sample .. " comes twice")
      samples[sample] = tonumber(value) or value
    end
  end
  return samples
end

--- Asks for the status.
-- @param options words: "sort=2", ...
-- @return what its JSON says, and the most ms of CPU time that a piece took
function host:status(options)
  return decoded(self, "status " .. (options or ""))
end

--- Asks for the history.
-- @param rover nil or the name of one
-- @return what its JSON says, and the most ms that a piece took
function host:history(rover)
  return decoded(self, "history" .. (rover and " rover=" .. rover or ""))
end

--- Steers by hand.
-- @param words "steer - a pause 0", "add - a 127.0.0.1 4040", "drain 0", ...
-- @return a number, or the name of an error
function host:steer(words)
  self.child:write(words .. "\n")
  local _, result = answer(self, "steered (%S+)\n")
  return tonumber(result) or result
end

--- Reloads the policy.
-- @param script nil, or its new text
-- @return the status
function host:reload(script)
  if script then files.write(self.path, script) end
  self.child:write "reload\n"
  local _, status = answer(self, "reload (%-?%d+)\n")
  return tonumber(status)
end

--- Ends the host, which must be in order.
function host:stop()
  self.child:write(nil)
  local code, signal = self.child:wait()
  assert(code == 0 and signal == 0, self.child.output)
end

--- Runs a policy.
-- @param script its text
-- @param options nil or a table: `sandbox`, `history`, `threads` (true: two),
--   `args` (of the policy), `env`
-- @return the host
function scrape.run(script, options)
  options = options or {}
  local path = files.tmpfile(script)
  local env = { LD_PRELOAD = false,
    SANDBOX = options.sandbox and "1" or false,
    HISTORY = options.history and "1" or false,
    THREADS = options.threads and "1" or false }
  for name, value in pairs(options.env or {}) do env[name] = value end
  local child = process.spawn(program, { command.ROOT .. "/lua", path,
    table.unpack(options.args or {}) }, { env = env })
  local self = setmetatable({ child = child, path = path, read = 1 }, hostMeta)
  answer(self, "loaded\n")
  return self
end

local function judge(judgement, text, ...)
  local path = files.tmpfile(text)
  local child = process.spawn("sh", { "-c", judgement .. ' < "$0"', path, ... },
    { env = { LD_PRELOAD = false } })
  local code = child:wait()
  if code ~= 0 then error(child.output .. text, 3) end
  return child.output
end

--- Has promtool check a text in Prometheus' format.
-- @param text the text
function scrape.lint(text)
  assert.equal("", judge("promtool check metrics", text))
end

--- Has a strict parser read a text in OpenMetrics' format.
-- @param text the text
-- @return the names of the families
function scrape.parse(text)
  local names = judge([[/usr/bin/python3 -c '
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.buffer.read().decode()):
    print(family.type, family.name)
']], text)
  local families = {}
  for kind, name in names:gmatch "(%S+) (%S+)\n" do families[name] = kind end
  return families
end

return scrape
