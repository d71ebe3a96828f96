local support = require "support"
local real = require "support.real"

describe("the example redis.lua", function()
  -- How many clients each server has, in the next table.
  local function shares(child)
    local list = {}
    for i = 1, 3 do
      list[i] = #child:waitFor("redis " .. i .. "  (#*)%.*\n")
    end
    return list
  end

  it("evens out after a restart", function()
    real.find("redis-server", "redis-server")
    local ports = { support.freePorts(4) }
    for i, port in ipairs(ports) do ports[i] = tostring(port) end
    local child = support.command { "run", "examples/redis.lua",
      table.unpack(ports) }
    local function evensOut()
      repeat until math.min(table.unpack(shares(child))) >= 10
    end
    evensOut()
    child:waitFor "redis 2: the backend is down: connection refused\n"
    local list = shares(child)
    assert.equal(0, list[2])
    child:waitFor "redis 2: is up again\n"
    evensOut()
    -- No others than those that the second had.
    local lost = child:waitFor "%d+ answers, (%d+) connections lost\n"
    assert.is_true(tonumber(lost) <= 60)
    child:kill()
    assert.same({ 0, 0 }, { child:wait() }, child.output)
    for i = 1, 3 do
      support.eventually(function() return support.isFree(ports[i] + 1000) end)
    end
  end)
end)
