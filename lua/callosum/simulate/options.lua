-- The command line of `callosum-rover simulate`. One table has all options:
-- what is parsed and what --help prints, which the shell's completion reads.

local nearest = require "callosum.simulate.nearest"
local servers = require "callosum.simulate.servers"

local options = {}

local COLUMN, WIDTH = 29, 80 -- of the texts in --help

local USAGE = "usage: callosum-rover simulate [options] POLICY... "
  .. "[-- ARGS...]\n"

local ABOUT = [[

Runs a policy, as it is, on virtual hosts with virtual servers, in virtual time,
and prints how their connections balance. Several policies, each in a file whose
name ends in .lua, are compared: each runs on a fleet of its own, with the same
seed and scenario. ARGS are the policy's arguments: {ports} stands for the port
of each server and {addresses} for HOST:PORT of each; without ARGS it is given
the ports.

]]

local ENDING = [[

Exit status: 0 success, 1 a policy failed in all hosts, a check of the scenario
failed or the run was interrupted, 2 usage error.
]]

-- Values: each returns what is meant, or nil.

local function integer(least, most)
  return function(text)
    local value = text:find "^%d+$" and math.tointeger(tonumber(text))
    return value and value >= least and value <= most and value or nil
  end
end

local function number(above, most)
  return function(text)
    local value = text:find "^[%d.]" and tonumber(text)
    return value and value > above and value <= most and value or nil
  end
end

-- "600" or "600s"
local function seconds(text)
  return number(0, 1e6)((text:gsub("s$", "")))
end

local function any(text) return text ~= "" and text or nil end

local ITEMS = {
  { "for", "SECONDS", seconds, "a number of seconds above 0",
    "how long to run, in virtual time (the scenario's)" },
  { "hosts", "COUNT", integer(1, 100000), "an integer from 1 to 100000",
    "how many hosts there are (200)" },
  { "json", nil, nil, nil, "print one JSON document, not a table" },
  { "latency", "MS", number(0, 10000), "a number above 0, at most 10000",
    "how long a packet takes, one way (0.1)" },
  { "plot", "FOLDER", any, "a folder", "also draw the run, as SVG files" },
  { "requests", "RATE", any, "a rate",
    "requests a second of each host, through its pools and relays" },
  { "scenario", "NAME", any, "a name, or a file of Lua",
    "what happens: one of those below, or a file of your own (cold)" },
  { "seed", "NUMBER", integer(0, math.maxinteger), "an integer, 0 or above",
    "another seed is another run, the same seed the same run (1)" },
  { "servers", "LIST", any, "a list",
    "how many servers, or their addresses: HOST:PORT with commas between "
    .. "them, where [1-20] stands for each of these numbers (20)" },
  { "show", "HOST", integer(1, 100000), "the number of a host",
    "print to standard error what that host logs and prints" },
  { "help", nil, nil, nil, "print this", "h" },
}

local byName, byLetter, names = {}, {}, {}
for _, item in ipairs(ITEMS) do
  byName[item[1]] = item
  if item[6] then byLetter[item[6]] = item end
  names[#names + 1] = "--" .. item[1]
end

local function wrap(text)
  local lines, line = {}, ""
  for word in text:gmatch "%S+" do
    if line ~= "" and COLUMN + #line + 1 + #word > WIDTH then
      lines[#lines + 1], line = line, ""
    end
    line = line == "" and word or line .. " " .. word
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\n" .. (" "):rep(COLUMN))
end

--- The text of --help.
-- @param scenarios what it says about the scenarios
function options.help(scenarios)
  local lines = { USAGE, ABOUT }
  for _, item in ipairs(ITEMS) do
    local letter = item[6] and ("-%s, "):format(item[6]) or ""
    local left = ("  %s--%s %s"):format(letter, item[1], item[2] or "")
    lines[#lines + 1] = ("%-29s%s\n"):format(left, wrap(item[5]))
  end
  lines[#lines + 1] = "\n" .. scenarios
  lines[#lines + 1] = ENDING
  return table.concat(lines)
end

local function find(name)
  if byName[name] then return byName[name] end
  local found
  for _, item in ipairs(ITEMS) do -- abbreviated
    if item[1]:sub(1, #name) == name then
      if found then return nil end
      found = item
    end
  end
  return name ~= "" and found or nil
end

-- Sets the option of that word. Returns the index of the next one, or nil and
-- what is wrong.
local function set(into, words, i)
  local name, value = words[i]:match "^%-%-([^=]*)=?(.*)$"
  local joined = words[i]:find("=", 1, true)
  local item = name and find(name) or not name and byLetter[words[i]:sub(2)]
  if not item then
    return nil, ("unrecognized option '%s', %s"):format(words[i],
      nearest("--" .. (name or words[i]:sub(2)), names))
  end
  name = item[1]
  if not item[2] then
    if joined then
      return nil, ("option '--%s' doesn't allow an argument"):format(name)
    end
    into[name] = true
    return i + 1
  end
  if not joined then
    i = i + 1
    value = words[i]
    if not value then
      return nil, ("option '--%s' requires an argument"):format(name)
    end
  end
  into[name] = item[3](value)
  if into[name] == nil then
    return nil, ("--%s wants %s, not '%s'"):format(name, item[4], value)
  end
  return i + 1
end

-- The policies, and behind them, or behind a --, their arguments.
local function operands(into, words, from)
  into.policies, into.args = {}, {}
  local i = from
  while words[i] and words[i] ~= "--"
      and (i == from or words[i]:find "%.lua$") do
    into.policies[#into.policies + 1] = words[i]
    i = i + 1
  end
  if words[i] == "--" then i = i + 1 end
  table.move(words, i, #words, 1, into.args)
end

--- Parses the command line.
-- @param words array of its words, without the command's name
-- @return a table of the options that are given, by name, with `policies` and
--   `args`; or nil and what is wrong
function options.parse(words)
  local into, i = {}, 1
  while words[i] and words[i]:find "^%-." and words[i] ~= "--" do
    local message
    i, message = set(into, words, i)
    if not i then return nil, message end
  end
  if into.help then return into end
  if words[i] == "--" then i = i + 1 end
  if not words[i] then return nil, "a POLICY is missing" end
  operands(into, words, i)
  if into.servers then
    local list, message = servers.parse(into.servers)
    if not list then return nil, message end
    into.servers = list
  end
  into.duration, into["for"] = into["for"], nil
  return into
end

options.USAGE = USAGE

return options
