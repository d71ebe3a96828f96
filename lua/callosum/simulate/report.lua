--- What is printed about runs: a table with a row for each figure and a column
--- for each policy, or JSON.

local json = require "callosum.simulate.json"

local report = {}

local NONE = "-"

local function number(format)
  return function(value)
    if not value or value ~= value or value == math.huge then return NONE end
    return (format:format(value))
  end
end

-- With commas in thousands.
local function count(value)
  if not value then return NONE end
  local changed
  local text = ("%.0f"):format(value)
  repeat
    text, changed = text:gsub("^(%-?%d+)(%d%d%d)", "%1,%2")
  until changed == 0
  return text
end

local function milliseconds(value)
  if not value then return NONE end
  return (value < 9.995 and "%.2f" or value < 99.95 and "%.1f" or "%.0f")
    :format(value)
end

local ratio, seconds = number "%.2f", number "%.1f"

local function share(value) return value and ("%.1f%%"):format(100 * value)
  or NONE end

-- The least and the greatest share of a server.
local function bound(requests, than)
  local value
  for _, each in pairs(requests and requests.share or {}) do
    value = than(value or each, each)
  end
  return value
end

local function errors(run)
  local sum = run.moreErrors or 0
  for _, err in ipairs(run.errors or {}) do sum = sum + err.count end
  return sum
end

-- Rows of the table: a text, how the value is shown, where it is from, and
-- whether it is shown if no run has it: a goal that was never reached.
local CONNECTIONS = {
  { "peak/mean, at the end", ratio, "peak" },
  { "peak/mean, at worst", ratio, "worst" },
  { "min/mean, at the end", ratio, "min" },
  { "CV, at the end", number "%.3f", "cv" },
  { "s to peak/mean 1.10", seconds, "to110", true },
  { "s to peak/mean 1.05", seconds, "to105", true },
  { "s to min/mean 0.90", seconds, "to90", true },
  { "opened before", count, "opensBefore" },
  { "opened since", count, "opens" },
  { "opened by a client each s", number "%.3f", "churn" },
  { "least of a client, at worst", count, "leastFill" },
  { "least of a client, at the end", count, "fill" },
  { "most of a client", count, "target" },
  { "servers of a client", number "%.1f", "distinct" },
}

local REQUESTS = {
  { "made", count, function(r) return r.count end },
  { "answered", count, function(r) return r.answered end },
  { "p50, ms", milliseconds, function(r) return r.p50 end },
  { "p99, ms", milliseconds, function(r) return r.p99 end },
  { "p99.9, ms", milliseconds, function(r) return r.p999 end },
  { "p99 of the busiest second, ms", milliseconds,
    function(r) return r.busiest and r.busiest.p99 end },
  { "least share of a server", share,
    function(r) return bound(r, math.min) end },
  { "greatest share of a server", share,
    function(r) return bound(r, math.max) end },
  { "lost", count, function(r) return r.lost end },
  { "waited for a connection", count, function(r) return r.waited end },
}

-- Where it ended, if that was too early.
local function ended(run)
  if run.assertion then return ("%g s, failed"):format(run.assertion.at) end
  return run.interrupted and ("%g s, interrupted"):format(run.duration) or nil
end

local RUN = {
  { "ended at", tostring, ended },
  { "errors of the script", count, errors },
  { "trace", tostring, function(run) return run.hash end },
}

-- Printing -------------------------------------------------------------------

local function baseName(path) return path:match "[^/]*$" end

-- Columns are told apart by as much of the path as it takes.
local function titles(runs)
  local seen, short = {}, {}
  for i, run in ipairs(runs) do
    short[i] = baseName(run.policy)
    if seen[short[i]] then
      for j, each in ipairs(runs) do short[j] = each.policy end
      break
    end
    seen[short[i]] = true
  end
  return short
end

-- Splits a text into lines.
local function wrap(text, width, indent)
  local lines, line = {}, ""
  for word in text:gmatch "%S+" do
    if line ~= "" and utf8.len(line) + 1 + utf8.len(word) > width then
      lines[#lines + 1], line = line, ""
    end
    line = line == "" and word or line .. " " .. word
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\n" .. indent)
end
report.wrap = wrap

-- One section: a heading, and rows.
local function section(out, width, heading, rows, runs, get)
  local lines, any = {}, false
  for _, row in ipairs(rows) do
    local cells, has = { ("  %-31s"):format(row[1]) }, row[4]
    for i, run in ipairs(runs) do
      local value = get(run, row[3])
      has = has or value ~= nil
      cells[i + 1] = ("%" .. width .. "s"):format(value == nil and NONE
        or row[2](value))
    end
    if has then lines[#lines + 1] = table.concat(cells) end
    any = any or has
  end
  if not any then return end
  out[#out + 1] = heading .. "\n"
  for _, line in ipairs(lines) do out[#out + 1] = line .. "\n" end
end

-- Since when the worst counts.
local function since(runs)
  local from = runs[1].connections.from
  for _, run in ipairs(runs) do
    if run.connections.from ~= from then return "the fleet was filled" end
  end
  return ("%g s"):format(from)
end

--- The table.
---@param runs table[] one for each policy, with the same scenario; none failed
---@return string
function report.table(runs)
  local first, out = runs[1], {}
  local names, width = titles(runs), 10
  for i, name in ipairs(names) do
    width = math.max(width, utf8.len(name) + 2)
    if runs[i].hash then width = math.max(width, #runs[i].hash + 2) end
  end
  out[#out + 1] = ("%s: %d hosts, %d servers, %.7g s, seed %d\n"):format(
    first.scenario, first.hosts, #first.servers, first.seconds, first.seed)
  if first.sentence then
    out[#out + 1] = wrap(first.sentence, 78, "") .. "\n"
  end
  if first.look then
    out[#out + 1] = "Look for: " .. wrap(first.look, 68, "  ") .. "\n"
  end
  out[#out + 1] = "\n" .. (" "):rep(33)
  for i in ipairs(runs) do
    out[#out + 1] = ("%" .. width .. "s"):format(names[i])
  end
  out[#out + 1] = "\n"
  section(out, width, ("connections (worst: since %s)"):format(since(runs)),
    CONNECTIONS, runs, function(run, field) return run.connections[field] end)
  section(out, width, "requests", REQUESTS, runs, function(run, get)
    return run.requests and get(run.requests)
  end)
  section(out, width, "run", RUN, runs, function(run, get) return get(run) end)
  return table.concat(out)
end

local function traceback(err)
  return err.traceback and "\n" .. err.traceback:gsub("^\n", "") or ""
end

--- Errors of scripts, each once, warnings, and what failed.
---@param runs table[]
---@return string
function report.problems(runs)
  local out = {}
  local function say(run, ...)
    out[#out + 1] = ("%s: %s\n"):format(run.policy, (...):format(
      select(2, ...)))
  end
  for _, run in ipairs(runs) do
    for _, warning in ipairs(run.warnings or {}) do say(run, "%s", warning) end
    -- Why it failed is one of its errors.
    for _, err in ipairs(not run.failed and run.errors or {}) do
      local often = err.count == 1 and "once" or err.count .. " times"
      local hosts = err.hosts == 1 and "one host" or err.hosts .. " hosts"
      say(run, "%s\n  %s in %s, first at %.3f s in h%d%s", err.message,
        often, hosts, err.at, err.host, traceback(err))
    end
    if (run.moreErrors or 0) > 0 and not run.failed then
      say(run, "%d more errors, with other messages", run.moreErrors)
    end
    if run.failed then say(run, "%s", run.failed) end
    if run.assertion then
      say(run, "%s\n  failed at %g s, seed %d%s", run.assertion.message,
        run.assertion.at, run.seed, traceback(run.assertion))
    end
  end
  return table.concat(out)
end

-- JSON -----------------------------------------------------------------------

local function copy(from, names)
  local to = {}
  for _, name in ipairs(names) do
    local value = from[name]
    if value == nil then value = json.null end
    to[name] = value
  end
  return to
end

local function list(from, names)
  local to = {}
  for i, each in ipairs(from or {}) do to[i] = copy(each, names) end
  return json.array(to)
end

local FIELDS = { "peak", "worst", "min", "cv", "to110", "to105", "to90",
  "opensBefore", "opens", "churn", "leastFill", "fill", "target", "distinct",
  "from", "settling" }

local function requests(run)
  local from = run.requests
  if not from then return json.null end
  local to = copy(from, { "count", "answered", "p50", "p99", "p999",
    "lost", "waited" })
  to.busiest = from.busiest and copy(from.busiest, { "at", "p99" })
    or json.null
  to.share = {}
  for i, name in ipairs(run.servers) do
    to.share[name] = from.share and from.share[i] or 0
  end
  return to
end

--- The same as one JSON document.
---@param runs table[]
---@return string
function report.json(runs)
  local all = {}
  for i, run in ipairs(runs) do
    local each = copy(run, { "policy", "duration", "failed", "hash" })
    each.moreErrors = run.moreErrors or 0
    each.interrupted = run.interrupted or false
    each.connections = copy(run.connections or {}, FIELDS)
    each.servers = {}
    for j, name in ipairs(run.servers) do
      each.servers[name] = run.counts and run.counts[j] or 0
    end
    each.requests = requests(run)
    each.events = list(run.events, { "at", "text", "till" })
    each.errors = list(run.errors, { "message", "traceback", "count", "hosts",
      "host", "at" })
    each.warnings = json.array { table.unpack(run.warnings or {}) }
    each.assertion = run.assertion and copy(run.assertion, { "message", "at",
      "traceback" }) or json.null
    all[i] = each
  end
  local document = copy(runs[1], { "scenario", "hosts", "seconds", "seed" })
  document.runs = json.array(all)
  return json.write(document)
end

return report
