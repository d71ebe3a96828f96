-- From the start of a process to its first `connection` event; and what a host
-- takes that has nothing to do.

local uv = require "luv"
local harness = require "spec.bench.harness"
local report = require "spec.bench.report"

local ROUNDS = 15

-- Starts a program at once, without a shell.
local function begin(client, ...)
  local words = {}
  for word in table.concat({ client.command, ... }, " "):gmatch "%S+" do
    words[#words + 1] = word
  end
  return harness.spawn(words)
end

local function first(client, port)
  local from = uv.hrtime()
  local program = begin(client, "first", port)
  local cpu = program:line "connection (.*)"
  local ms = (uv.hrtime() - from) / 1e6
  program:wait()
  return { ms = ms, cpu = tonumber(cpu) }
end

local function idle(client)
  local program = begin(client, "idle")
  program:line "idle"
  return { all = program:memory() / 1024,
    anonymous = program:memory "RssAnon" / 1024 }
end

return function()
  local port = harness.serve():match "%d+"
  local clients = harness.clients("policy", "luv", "Node", "bare", "base")
  local others = harness.others("luv", "Node", "base")
  local starts = harness.alternate(clients, ROUNDS, function(client)
    return first(client, port)
  end)
  report.row("ms from start to first connection", "policy",
    harness.pick("ms", starts), { others = others, limit = "bare",
    aims = { "<= 10", "Node <= 0.125" } })
  report.row("CPU ms from start to first connection", "policy",
    harness.pick("cpu", starts), { others = others, limit = "bare",
    aims = { "base <= 0.7" } })
  local hosts = harness.alternate(clients, nil, idle)
  report.row("KB resident, an idle host", "policy",
    harness.pick("all", hosts), { others = others, limit = "bare",
    aims = { "base <= 0.8" } })
  report.row("KB resident that no file backs, an idle host", "policy",
    harness.pick("anonymous", hosts), { others = others, limit = "bare" })
end
