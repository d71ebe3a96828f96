-- callosum-rover top, on a terminal and elsewhere.

local fleets = require "support.fleets"
local support = require "support"
local terminals = require "support.terminal"
local uv = require "luv"

local SERVERS = { { "alpha", 5, 7 }, { "beta", 1, 9 }, { "gamma", 2, 8 },
  { "omega", 2, false } }

local function top(path, args, rows, columns)
  return terminals.start({ support.EXECUTABLE, "top", "--interval", "0.1",
    "--timeout", "5", table.unpack(args or {}) }, { CALLOSUM_ADMIN = path },
    rows, columns)
end

-- The ids of the servers that are shown, in order.
local function shown(text)
  local ids = {}
  for id in ("\n" .. text):gmatch "\n(%l+) +%l+ +%d+ +[%d.]+%%" do
    ids[#ids + 1] = id
  end
  return table.concat(ids, " ")
end

-- Waits until these are shown, in that order.
local function shows(terminal, ids)
  support.eventually(function() return shown(terminal:screen()) == ids end)
end

describe("callosum-rover top", function()
  it("shows the verdict and the servers in 80x24, and quits", function()
    local child, path = fleets.start(SERVERS)
    local terminal = top(path)
    terminal:shows "q quit"
    local text = terminal:screen()
    local _, lines = text:gsub("\n", "")
    assert.equal(23, lines)
    assert.matches("^uneven: peak to mean %d.%d%d, 8 connections to 4 servers, "
      .. "0 to 5 each\n", text)
    assert.equal("alpha gamma beta omega", shown(text))
    assert.matches("\nalpha +up +5 +62.5%% +5 +0 +0 +7 +0\n", text)
    assert.matches("\nrunning: generation 1, up ", text)
    for line in text:gmatch "[^\n]+" do assert.is_true(utf8.len(line) <= 80) end
    terminal:press "q"
    assert.same({ 0, true }, { terminal:ends() })
    support.stop(child)
  end)

  it("sorts by what is asked for, by options and keys", function()
    local child, path = fleets.start(SERVERS)
    local terminal = top(path, { "--sort", "id" })
    terminal:shows "q quit"
    shows(terminal, "alpha beta gamma omega")
    for key, order in pairs { s = "^beta gamma alpha", u = "^omega",
        c = "^alpha gamma beta", i = "^alpha beta gamma omega" } do
      terminal:press(key)
      support.eventually(function()
        return shown(terminal:screen()):find(order)
      end)
    end
    terminal:press "q"
    assert.same({ 0, true }, { terminal:ends() })
    support.stop(child)
  end)

  it("follows the size of the window", function()
    local child, path = fleets.start(SERVERS)
    local terminal = top(path)
    terminal:shows "q quit"
    terminal:resize(10, 100)
    terminal:shows("\nSERVER" .. (" "):rep(20))
    support.eventually(function()
      local _, lines = terminal:screen():gsub("\n", "")
      return lines == 9 and terminal:screen():find "q quit"
    end)
    terminal:shows " %d more$"
    terminal:resize(3, 20)
    terminal:shows "^uneven: peak to mean\n"
    terminal:press "q"
    assert.same({ 0, true }, { terminal:ends() })
    support.stop(child)
  end)

  for _, signal in ipairs { "sigint", "sigterm", "sighup", "sigquit",
      "sigusr1" } do
    it("gives the terminal back on " .. signal, function()
      local child, path = fleets.start(SERVERS)
      local terminal = top(path)
      terminal:shows "q quit"
      if signal == "sigint" then terminal:press "\3"
      else terminal:kill(signal) end
      local status, restored = terminal:ends()
      assert.is_true(status > 128)
      assert.is_true(restored)
      support.stop(child)
    end)
  end

  it("gives the terminal back while it is stopped", function()
    local child, path = fleets.start(SERVERS)
    local terminal = top(path)
    terminal:shows "q quit"
    terminal:press "\26"
    terminal:waitStopped()
    support.eventually(function()
      return terminal:screen() == "" and next(terminal.modes) == nil
    end)
    uv.kill(terminal.pid, "sigcont")
    terminal:shows "q quit"
    terminal:press "q"
    assert.same({ 0, true }, { terminal:ends() })
    support.stop(child)
  end)

  it("shows that the host is gone, and that it is back", function()
    local child, path = fleets.start(SERVERS)
    local terminal = top(path)
    terminal:shows "q quit"
    child:kill "sigkill" -- else it may say that it is stopping
    child:wait()
    local why = terminal:shows
      "^NO ANSWER since %d+:%d+:%d+: [^\n]+\n([^\n]+)\nuneven: "
    assert.matches("^nobody answers at ", why)
    shows(terminal, "alpha gamma beta omega")
    child = fleets.start({ { "delta", 1, 5 } }, { path = path })
    terminal:shows "^balanced: peak to mean 1.00, 1 connection to 1 server, "
    shows(terminal, "delta")
    terminal:press "q"
    assert.same({ 0, true }, { terminal:ends() })
    support.stop(child)
  end)

  it("leaves the terminal alone if there was no host", function()
    local terminal = top(support.tmpdir() .. "/none")
    local status, restored = terminal:ends()
    assert.equal(3, status)
    assert.is_true(restored)
    assert.is_truthy(terminal.child.stdout
      :find("nobody answers at", 1, true))
  end)

  it("shows no more servers than there is room for, of many", function()
    local servers = {}
    for i = 1, 40 do servers[i] = { ("s%02d"):format(i), 0, 1 } end
    local child, path = fleets.start(servers)
    local terminal = top(path)
    terminal:shows "q quit   %d+ more$"
    local _, lines = terminal:screen():gsub("\n", "")
    assert.equal(23, lines)
    terminal:press "q"
    assert.same({ 0, true }, { terminal:ends() })
    support.stop(child)
  end)

  it("draws no id that a terminal would take for a command", function()
    local child, path = fleets.start({}, { script = [[
      r:addServer("\27[2J\226\128\174x", { host = "127.0.0.1", port = 1 })
    ]] })
    local terminal = top(path)
    terminal:shows "\n\\x1b%[2J\\u202ex "
    terminal:press "q"
    assert.same({ 0, true }, { terminal:ends() })
    support.stop(child)
  end)

  describe("elsewhere", function()
    local function plain(path, args)
      return support.command({ "top", "--interval", "0.05",
        table.unpack(args) }, { env = { CALLOSUM_ADMIN = path } })
    end

    it("prints text, so many times", function()
      local child, path = fleets.start(SERVERS)
      for count, args in pairs { { "--once" }, { "-n", "2" },
          { "--count=3" } } do
        local printed = plain(path, args)
        assert.equal(0, printed:wait())
        assert.is_nil(printed.output:find "[^%g \n]")
        local _, times = printed.stdout:gsub("uneven: peak to mean", "")
        assert.equal(count, times)
        assert.equal(("alpha gamma beta omega "):rep(count),
          shown(printed.stdout) .. " ")
      end
      support.stop(child)
    end)

    it("goes on until it is ended, whether there is a host or not", function()
      local child, path = fleets.start(SERVERS)
      local printed = plain(path, {})
      for _ = 1, 3 do printed:waitFor "uneven: " end
      support.stop(child)
      for _ = 1, 2 do printed:waitFor "nobody answers at " end
      printed:kill "sigterm"
      assert.same({ 0, 15 }, { printed:wait() })
    end)

    it("fails if nobody is there at the end", function()
      local printed = plain(support.tmpdir() .. "/none", { "-n", "2" })
      assert.equal(3, printed:wait())
      assert.equal("", printed.stdout)
    end)
  end)
end)
