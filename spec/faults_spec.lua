local support = require "support"
local faults = require "support.faults"

-- Each row: what the servers do, and what each attempt to one of them brings.
-- `servers(count)` gives the ports, or nil for one server by `script`.
local MEBIBYTE = 1024 * 1024

local function repeated(port)
  return function(count)
    local ports, some = {}, {}
    for i = 1, math.min(count, 3) do some[i] = port() end
    for i = 1, count do ports[i] = some[i % #some + 1] end
    return ports
  end
end

local rows = {
  { "refuse",
    servers = function(count)
      local ports = {}
      for i = 1, count do ports[i] = support.closedPort() end
      return ports
    end,
    brings = { "unreachable ECONNREFUSED" } },
  { "swallow what is sent to them",
    servers = repeated(support.blackHole),
    timeout = 50, brings = { "unreachable ETIMEDOUT" } },
  { "accept and are silent",
    script = {}, timeout = 50, brings = { "unreachable ETIMEDOUT" } },
  { "send a byte now and then",
    script = { finish = "drip" }, timeout = 300,
    brings = { "unreachable ETIMEDOUT" } },

  { "close before the slot",
    script = { finish = "close" }, brings = { "unreachable EOF" } },
  { "close within the slot",
    script = { send = "13\r", finish = "close" },
    brings = { "unreachable EOF" } },
  { "close after the slot",
    script = { send = "13\r\n", finish = "close" },
    brings = { "connection", "close" } },
  { "reset before the slot",
    script = { finish = "reset" }, brings = { "unreachable ECONNRESET" } },
  { "reset within the slot",
    script = { send = "13\r", finish = "reset" },
    brings = { "unreachable ECONNRESET" } },
  { "reset after the slot",
    -- Not before the client has it: a reset on the way hides what it follows.
    script = { send = "13\r\n", finish = "reset", greeted = true },
    brings = { "connection", "close ECONNRESET" } },

  { "send garbage",
    script = { send = "HTTP/1.1 400 Bad Request\r\n\r\n" },
    brings = { "error EPROTO" } },
  { "send digits without end",
    script = { send = ("7"):rep(MEBIBYTE) }, brings = { "error EPROTO" } },
  { "send NUL bytes",
    script = { send = ("\0"):rep(4) }, brings = { "error EPROTO" } },
  { "send megabytes without a newline",
    script = { send = ("x"):rep(4 * MEBIBYTE) }, brings = { "error EPROTO" } },
}

-- A host whose servers have that fault.
local function host(row, count)
  local h = faults.host { maxAttempts = 50, connectTimeout = row.timeout,
    slotTimeout = row.timeout }
  if row.script and row.script.greeted then h:ask "greet" end
  local ports = row.servers and row.servers(count)
  for i = 1, count do
    local port = ports and ports[i] or faults.serve(row.script).port
    h:tell("add", "bad" .. i, "127.0.0.1", port)
  end
  for _ = 1, count do h:answer() end
  return h
end

describe("a host", function()
  for _, row in ipairs(rows) do
    it(("withstands a server that does: %s"):format(row[1]), function()
      faults.check(host(row, 1), row.brings, 100)
    end)

    it(("withstands 500 servers that %s"):format(row[1]), function()
      faults.check(host(row, 500), row.brings, 100)
    end)
  end

  -- Servers that attempts are under way to when they are dropped.
  local phases = {
    { "while it connects", support.blackHole },
    { "before the slot", {} },
    { "within the slot", { send = "13\r" } },
  }
  for _, phase in ipairs(phases) do
    local name, how = table.unpack(phase)
    for _, count in ipairs { 1, 500 } do
      it(("cancels in silence when %d servers are dropped %s")
        :format(count, name), function()
          local h = faults.host { maxAttempts = 50 }
          if type(how) == "function" then
            return faults.drops(h, count, "127.0.0.1", how())
          end
          local bad = faults.serve(how)
          faults.drops(h, count, "127.0.0.1", bad.port, bad)
        end)
    end
  end
end)
