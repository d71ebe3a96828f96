-- TLS, mutual, with P-256: the rover beside a client on bare epoll and
-- OpenSSL, the front beside such a server, haproxy and stunnel, and relay and
-- front, with TLS between them, beside two haproxys and two stunnels in their
-- place.
--
-- What is compared is pinned to one processor, and the other end to the others.
-- Of two that stand in a row, both are on that one.

local uv = require "luv"
package.path = package.path .. ";spec/?.lua"
local certificates = require "support.certificates"
local between = require "spec.bench.between"
local harness = require "spec.bench.harness"
local report = require "spec.bench.report"

local COUNTS = { resumed = 6000, full = 3000 }
local IN_FLIGHT, KEPT, FEW = 64, 1000, 10
local RELAYED = 300
local BULK_MS = 400
local ANSWERS_MS = 1000 -- much longer than 64 handshakes take

local own, others = harness.cpus()
local fleet, client, server

local function files(certificate)
  return { cert = certificate.cert, key = certificate.key,
    both = certificate.both, ca = fleet.ca.file }
end

local function words(each)
  return table.concat({ each.cert, each.key, each.ca }, " ")
end

local function bare(cpus, ...)
  return harness.spawn(harness.BUILD .. "/bench/bare_tls "
    .. (...):format(select(2, ...)), cpus)
end

-- Has a client make so many handshakes; returns how many a second.
local function handshakes(program, count)
  program:line "begin"
  local from = uv.hrtime()
  program:line "done"
  return count / ((uv.hrtime() - from) / 1e9)
end

-- The rover ------------------------------------------------------------------

local CLIENTS = { { name = "C API", program = "tls_rover" },
  { name = "epoll", program = "bare_tls" } }

local function rovers(kind)
  local port = bare(others, "serve %s %s", kind, words(server)):line()
  local count = COUNTS[kind]
  local results = harness.alternate(CLIENTS, harness.MANY_ROUNDS,
    function(each)
      local user, system = harness.cpuOfEnded()
      local program = harness.spawn(("%s/bench/%s handshakes %d %d %s%s %s")
        :format(harness.BUILD, each.program, count, IN_FLIGHT,
        each.program == "bare_tls" and kind .. " " or "", words(client), port),
        own)
      local rate = handshakes(program, count)
      program:wait()
      local userNow, systemNow = harness.cpuOfEnded()
      uv.sleep(1000) -- local ports come back after a second
      return { rate = rate,
        cpu = (userNow + systemNow - user - system) / count * 1e6 }
    end)
  report.row(("rover, probes/s over TLS, %s"):format(kind), "C API",
    harness.pick("rate", results), { limit = "epoll",
    aims = { "epoll >= 0.95" } })
  report.row(("rover, CPU µs a probe over TLS, %s"):format(kind), "C API",
    harness.pick("cpu", results), { limit = "epoll",
    aims = kind == "resumed" and { "epoll <= 1.05" } })
end

local function memory()
  local port = bare(others, "serve full %s", words(server)):line()
  local function resident(each, count)
    local program = harness.spawn(("%s/bench/%s keep %d %s %s"):format(
      harness.BUILD, each.program, count, words(client), port), own)
    program:line "kept"
    return program:memory()
  end
  local results = harness.alternate(CLIENTS, nil, function(each)
    local few = harness.within(resident, each, FEW)
    return { bytes = (resident(each, KEPT) - few) / (KEPT - FEW) }
  end)
  report.row("bytes per kept socket with TLS", "C API",
    harness.pick("bytes", results), { limit = "epoll",
    aims = { "epoll <= 1.1" } })
end

-- The front ------------------------------------------------------------------

local starts = {}

function starts.epoll(_, _)
  local program = bare(own, "serve resumed %s", words(server))
  return { program }, program:line()
end

for _, name in ipairs { "front", "haproxy", "stunnel" } do
  starts[name] = function(port, back, greeting)
    return { between[name](port, name == "front" and back or greeting,
      { cpus = own, unsecures = server }) }
  end
end

local function fronts(kind)
  local back = between.peer(others, "serve 1"):line()
  local greeting = between.peer(others, "serve 1 slots"):line()
  local contenders = {}
  for _, name in ipairs { "front", "epoll", "haproxy", "stunnel" } do
    if name == "front" or name == "epoll" or harness.isThere(name) then
      local port = between.freePort()
      local programs, taken = starts[name](port, back, greeting)
      contenders[#contenders + 1] = { name = name, programs = programs,
        port = math.tointeger(taken or port) }
    end
  end
  local count = COUNTS[kind]
  local results = harness.alternate(contenders, harness.MANY_ROUNDS,
    function(each)
      local before = between.cpu(each.programs)
      local program = bare(others, "handshakes %d %d %s %s %d", count,
        IN_FLIGHT, kind, words(client), each.port)
      local rate = handshakes(program, count)
      local resumed = tonumber(program:line "(%d+) resumed")
      program:wait()
      uv.sleep(200)
      local cpu = between.cpu(each.programs) - before
      uv.sleep(1000) -- local ports come back after a second
      return { rate = rate, cpu = cpu / count * 1e6, resumed = resumed / count }
    end)
  local rest = { "haproxy", "stunnel" }
  report.row(("front, probes/s over TLS, %s"):format(kind), "front",
    harness.pick("rate", results), { limit = "epoll", others = rest,
    aims = { "epoll >= 0.95" } })
  report.row(("front, CPU µs a probe over TLS, %s"):format(kind), "front",
    harness.pick("cpu", results), { limit = "epoll", others = rest,
    aims = kind == "resumed" and { "epoll <= 1.05" } })
  if kind ~= "resumed" then return end
  report.row("front, part of the probes that were resumed", "front",
    harness.pick("resumed", results), { limit = "epoll", others = rest })
end

-- Relay and front ------------------------------------------------------------

-- Two in a row, with TLS between them.
local function startTwo(first, second, back)
  local middle, port = between.freePort(), between.freePort()
  local programs = { between[second](middle, back,
    { cpus = own, unsecures = server }) }
  programs[2] = between[first](port, tostring(middle),
    { cpus = own, secures = client, kept = RELAYED, pace = "at-once" })
  return { name = first .. " + " .. second, port = port, programs = programs }
end

local function bytes(direction, streams)
  return function(contender)
    local rate, cpu = between.timed(contender, function()
      local program = between.peer(others, "%d bytes %s %d %d", contender.port,
        direction, streams, BULK_MS)
      local number = tonumber((program:line()))
      program:wait()
      return number
    end)
    -- The first 200 ms are not in the rate.
    return { value = rate / 1e6, cpu = cpu / (rate * (BULK_MS + 200) / 1e12) }
  end
end

local function answers(connections, size)
  return function(contender)
    return between.answers(contender, others, connections, size, ANSWERS_MS)
  end
end

local function joined()
  local back = between.peer(others, "serve 1"):line()
  local ours, rest = "relay + front", {}
  local all = { startTwo("relay", "front", back) }
  for _, name in ipairs { "haproxy", "stunnel" } do
    if harness.isThere(name) then
      all[#all + 1] = startTwo(name, name, back)
      rest[#rest + 1] = all[#all].name
    end
  end
  local function row(results, what, figure, aim)
    report.row(("%s over TLS, %s"):format(ours, figure), ours,
      harness.pick(what, results), { others = rest,
      aims = aim and { rest[1] .. " " .. aim } })
  end
  for _, way in ipairs { { "s", 1, "from" }, { "s", 16, "from" },
      { "d", 1, "to" }, { "d", 16, "to" } } do
    local results = harness.alternate(all, harness.MANY_ROUNDS,
      bytes(way[1], way[2]))
    local text = ("%d streams %s the server"):format(way[2], way[3])
    row(results, "value", "MB/s, " .. text, ">= 1.2")
    row(results, "cpu", "CPU s/GB, " .. text)
  end
  for _, size in ipairs { 64, 4096 } do
    for _, connections in ipairs { 1, 16, 64 } do
      local results = harness.alternate(all, harness.MANY_ROUNDS,
        answers(connections, size))
      local text = ("%d B, %d connections"):format(size, connections)
      row(results, "value", "answers/s, " .. text, ">= 1.2")
      row(results, "p99", "µs for 99% of answers, " .. text)
      row(results, "cpu", "CPU µs an answer, " .. text)
    end
  end
end

local function all()
  client, server = files(fleet.client), files(fleet.server)
  for _, kind in ipairs { "resumed", "full" } do
    harness.within(rovers, kind)
    harness.within(fronts, kind)
  end
  harness.within(memory)
  harness.within(joined)
end

return function()
  fleet = certificates.fleet()
  local ok, err = pcall(all)
  fleet:remove()
  if not ok then error(err, 0) end
end
