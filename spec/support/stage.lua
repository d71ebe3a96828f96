-- A fleet for specs of timelines and reports, without any program: it notes
-- what is done to it, and has the connections that it is told.

local uv = require "luv"

local stage = {}

--- Makes one.
-- @param counts called with the time: the connections of each server
-- @return the stage; `calls`, what was done: { time, name, arguments ... };
--   `now`
function stage.new(counts)
  local self = { now = 0, calls = {}, down = {}, opens = 0, failing = {} }

  local function note(name)
    self[name] = function(...)
      if self.failing[name] then error(self.failing[name], 0) end
      table.insert(self.calls, { self.now, name, ... })
    end
  end
  for _, name in ipairs { "slow", "weight", "drain", "resume", "partition",
      "heal", "ghost", "lose", "boot", "reload", "surge", "start" } do
    note(name)
  end
  function self.start(settings)
    self.settings = settings
    self.servers = #settings.servers
    return true
  end
  function self.stop(server, how)
    self.down[server] = true
    table.insert(self.calls, { self.now, "stop", server, how })
  end
  function self.begin(server)
    self.down[server] = nil
    table.insert(self.calls, { self.now, "begin", server })
  end
  function self.add(count, within)
    table.insert(self.calls, { self.now, "add", count, within })
    self.servers = self.servers + count
    return self.servers - count + 1
  end

  function self.run(time)
    if self.interruptAt and time > self.interruptAt then
      return false, "interrupted"
    end
    self.now = time
    return true
  end
  function self.connections() return { table.unpack(counts(self.now)) } end
  function self.up()
    local list = {}
    for i = 1, #counts(self.now) do list[i] = not self.down[i] end
    return list
  end
  function self.fill() return 9, 10 end
  function self.distinct() return 7.5 end
  function self.counters()
    return { opens = math.floor(self.now * 10 + 0.5) }
  end
  function self.slots() return { [0] = 2, 1 } end
  function self.errors() return self.scriptErrors or {} end
  function self.warnings() return {} end
  function self.requests() return self.load end
  function self.hash() return "0123456789abcdef" end
  function self.progress() end
  self.mkdir = function(path) return uv.fs_mkdir(path, 511) end
  function self.fork(jobs)
    local texts = {}
    for i, job in ipairs(jobs) do texts[i] = job() end
    return texts
  end
  return self
end

return stage
