local asking = require "support.asking"
local scrape = require "support.scrape"
local support = require "support"

local run, await, script = asking.run, asking.await, asking.script

local KEEPING = [[
local r = rover.new(options)
r:on("connection", function() end)
]]

describe("the status of a host", function()
  it("has the connections of each server, and how evenly they are spread",
    function()
      local host = run(KEEPING .. [[ask(r, "a", "a", "a", "b")]])
      local rover, servers = await(host, function(r)
        return r.stats.kept == 4
      end)
      assert.equal("a", rover.servers[1].id)
      assert.same({ 3, 1 }, { servers.a.connections, servers.b.connections })
      assert.same({ .75, .25 }, { servers.a.share, servers.b.share })
      assert.same({ ["0"] = 1, ["1"] = 1, ["2"] = 1 }, servers.a.slots)
      assert.same({ "up", 3, 3, 0, 2 }, { servers.a.state, servers.a.attempts,
        servers.a.connected, servers.a.unreachable, servers.a.lastSlot })
      assert.same({ servers = 2, connections = 4, mean = 2, peak = 3, least = 1,
        peakToMean = 1.5, minToMean = .5, cv = .5, verdict = "nearly" },
        rover.balance)
      host:stop()
    end)

  it("counts what is lent out, until it is returned, closed or detached",
    function()
      local host = run([[
        local r = rover.new(options)
        local count, first = 0, nil
        r:on("connection", function(slot, socket)
          count = count + 1
          socket.lent = true
          if count == 2 then socket.lent = false end
          if count == 3 then socket:close() end
          if count == 4 then
            local fd = socket:detach()
            require "luv".fs_close(fd)
          end
        end)
        ask(r, "a", "a", "a", "a", "a")
      ]], 1)
      local _, servers = await(host, function(r) return r.stats.closed == 2
        and r.stats.kept == 3 end)
      local a = servers.a
      assert.same({ 3, 2, 0, 3 }, { a.kept, a.lent, a.joined, a.connections })
      assert.equal(0, host:reload(script(KEEPING)))
      _, servers = await(host, function(r) return r.stats.kept == 3 end)
      assert.same({ 3, 0 }, { servers.a.kept, servers.a.lent })
      host:stop()
    end)
end)

describe("the history of a host", function()
  it("is kept only if that was asked for", function()
    local host = scrape.run "require 'callosum.rover'.new {}"
    assert.equal("ENOTSUP", (host:history()))
    host:stop()
  end)

  it("has a point of each rover every 2 s, and the reloads", function()
    local host = run(KEEPING .. [[ask(r, "a", "a", "a", "b")]], 2,
      { history = true })
    await(host, function(r) return r.stats.kept == 4 end)
    assert.not_equal(0, host:reload "syntax error")
    assert.equal(0, host:reload(script(KEEPING .. [[ask(r, "a")]])))
    assert.equal("ENOENT", (host:history "other"))
    local history
    support.run(function()
      history = host:history "main"
      return #history.points.at == 2
    end)
    assert.equal(2, history.interval)
    assert.equal("main", history.rover)
    local points = history.points
    assert.equal(2, #points.at)
    assert.near(2, points.at[2] - points.at[1], .5)
    assert.same({ 5, 1.6, .4 }, { points.connections[2], points.peakToMean[2],
      points.minToMean[2] })
    assert.is_true(points.attemptsPerSecond[2] > .3)
    assert.same({ 0, 0 }, { points.unreachablePerSecond[2],
      points.errorsPerSecond[2] })
    assert.is_nil(points.attemptsPerSecond[1])
    assert.same({ { 1, false }, { 2, true } }, {
      { history.reloads[1].generation, history.reloads[1].ok },
      { history.reloads[2].generation, history.reloads[2].ok } })
    host:stop()
  end)
end)
