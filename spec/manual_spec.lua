local support = require "support"

local installed = support.installed

local COMMAND, POLICY = "man1/callosum-rover.1", "man5/callosum-policy.5"

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

local function path(page)
  return installed.tree().prefix .. "/share/man/" .. page
end

-- A page as people read it, without what makes it bold or underlined.
local function shown(page)
  return (installed.output("mandoc", { "-Tascii", path(page) })
    :gsub(".\b", ""))
end

-- The set of all that a pattern finds in a text.
local function set(text, pattern)
  local found = {}
  for each in text:gmatch(pattern) do found[each] = true end
  return found
end

local function command(args)
  return installed.run(installed.tree().bin .. "/callosum-rover", args)
end

describe("the manual", function()
  for _, page in ipairs { COMMAND, POLICY } do
    it("is well written in " .. page, function()
      installed.output("mandoc", { "-Tlint", "-Wwarning", path(page) })
    end)
  end
end)

describe("the manual of the command", function()
  local function options()
    return shown(COMMAND):match "\n   Options\n(.-)\n   Signals\n"
  end

  it("has the commands of --help, and no others", function()
    local name = "callosum%-rover (%l+) %[options%]"
    assert.same(set(command { "--help" }, name), set(shown(COMMAND), name))
  end)

  it("has the options of --help, and no others", function()
    for _, name in ipairs { "%-%-%l[%l-]*", "\n *(%-%a)," } do
      assert.same(set(command { "--help" }, name), set(options(), name))
    end
  end)

  it("has the defaults of --help", function()
    local found = 0
    for name, default in command { "--help" }
        :gmatch "\n  %-%-([%l-]+)[^\n]-%(([%w.]+)%)" do
      local item = options():match("%-%-" .. name:gsub("%-", "%%-")
        .. "%f[^%l-].-\n\n")
      assert.is_truthy(item:find(default, 1, true), item)
      found = found + 1
    end
    assert.is_true(found >= 5)
  end)

  it("has the lines that are logged", function()
    local count = 0
    for _, file in ipairs { "cli/run", "host/host", "host/policy",
        "host/limits", "host/sources", "host/bind_host" } do
      for message in read("src/" .. file .. ".c")
          :gmatch 'ROVER_HOST_%u+,%s*"([^"]+)"' do
        assert.is_truthy(shown(COMMAND):find(message, 1, true), message)
        count = count + 1
      end
    end
    assert.is_true(count >= 10)
  end)
end)

describe("the manual of policies", function()
  -- What there is, a line for each: `r:start`.
  local function lines(text) return set(text, "[^\n]+") end

  local function run(script)
    return lines(installed.run("lua5.4", { "-e", [[
      local function list(prefix, table)
        for name in pairs(table) do print(prefix .. name) end
      end
      local class = debug.getregistry()
      local rover = require "callosum.rover"
    ]] .. script }))
  end

  -- What is in the text between two lines of the page that begin so.
  local function between(first, last)
    local at = shown(POLICY):match("\n *" .. first .. "[^\n]*\n()")
    return shown(POLICY):sub(at):match("(.-\n) *" .. last)
  end

  -- The names in a list of C's.
  local function listed(file, list)
    return set(read("src/lua/" .. file):match(list .. "%[%] = {(.-)}"),
      '"(%l%a*)"')
  end

  -- The options of a table in src/lua, of which most are in a map of a header.
  local function optionsOf(file, header, map)
    local names = set(read("src/lua/" .. file):match "options%[%] = {(.-)\n};",
      'name = "(%l%a*)"')
    local entries = read("src/callosum/" .. header)
      :match("#define " .. map .. "%(XX%)(.-)\n\n")
    for entry in entries:gmatch "XX(%b())" do
      names[entry:match '"(.-)"'] = true
    end
    return names
  end

  it("has the methods of rovers, and no others", function()
    assert.same(run [[list("r:", class["callosum.rover"].__index)]],
      set(shown(POLICY), "%f[%w](r:%a+)%("))
  end)

  it("has the options of rovers, and no others", function()
    assert.same(optionsOf("bind_rover.c", "rover.h", "ROVER_OPTIONS_MAP"),
      set(between("rover%.new%(", "r:on%("), "\n\n +(%l%a+)"))
  end)

  it("has the counters of rovers, and no others", function()
    local text = between("r:stats%(", "r:close%(")
    for name in pairs(run [[list("", rover.new():stats())]]) do
      assert.is_truthy(text:find("%f[%a]" .. name .. "%f[%A]"), name)
    end
  end)

  it("has the methods of sockets, and no others", function()
    assert.same(run [[
      local _, methods = debug.getupvalue(class["callosum.socket"].__index, 1)
      list("socket:", methods)
    ]], set(shown(POLICY), "(socket:%a+)%("))
  end)

  it("has the fields of sockets, and no others", function()
    assert.same(set(read "src/lua/bind_socket.c", '!strcmp%(name, "(%l+)"%)'),
      set(between("Fields:", "Methods, "), "\n     (%l+)"))
  end)

  it("has the events of both, and no others", function()
    assert.same(listed("bind_rover.c", "event_names"),
      set(between("Events", "An attempt"), "\n     (%l+)%("))
    assert.same(listed("bind_socket.c", "event_names"),
      set(between("Events:", "An error"), "\n     (%l+)%("))
  end)

  it("has the methods of relays and their clients, and no others", function()
    assert.same(run [[
      require "callosum.relay"
      list("door:", class["callosum.relay"].__index)
    ]], set(shown(POLICY), "(door:%a+)%("))
    assert.same(run [[
      require "callosum.relay"
      local _, methods = debug.getupvalue(class["callosum.client"].__index, 1)
      list("client:", methods)
    ]], set(shown(POLICY), "(client:%a+)%("))
  end)

  it("has the options and counters of relays, and no others", function()
    assert.same(listed("bind_relay.c", "option_names"),
      set(between("relay%.new%(", "door:on%("), "\n\n +(%l%a+)"))
    local text = between("door:stats%(", "door:close%(")
    for name in pairs(run [[
      local relay = assert(require "callosum.relay".new {
        listen = { port = 0 }, pick = print })
      list("", relay:stats())
      relay:close()
    ]]) do
      assert.is_truthy(text:find("%f[%a]" .. name .. "%f[%A]"), name)
    end
  end)

  it("has what the host's module has, and nothing else", function()
    local policy = support.tmpfile [[
      local host = require "callosum.host"
      require "callosum.rover".new()
      for name in pairs(host) do
        if name ~= "log" then print("host." .. name) end
      end
      for name in pairs(host.log) do print("host.log." .. name) end
      print "host.carry" -- which pairs does not show
      host.stop()
    ]]
    assert.same(lines(command { "run", "--log-level", "error", policy }),
      set(shown(POLICY), "%f[%w](host%.%l[%l.]*%l)"))
  end)

  it("has the methods of servers and slots, and no others", function()
    assert.same(run [[
      local server = require "callosum.server".new()
      list("s:", getmetatable(server).__index)
      list("s:", getmetatable(require "callosum.slots".new()).__index)
    ]], set(shown(POLICY), "%f[%w](s:%l+)%("))
    assert.same(run [[
      local uv = require "luv"
      local server = require "callosum.server".new()
      local client = uv.new_tcp()
      client:connect(server:address())
      server:on("connection", function(conn)
        list("conn:", getmetatable(conn).__index)
        server:close()
        client:close()
      end)
      uv.run()
    ]], set(shown(POLICY), "(conn:%l+)%("))
  end)

  it("has the options of servers and slots", function()
    for _, module in ipairs { "server", "slots" } do
      local text = between(module .. "%.new%(", "s:%l+%(")
      local known = run(([[
        local _, message = pcall(require "callosum.%s".new, { [""] = 1 })
        for name in message:match "valid are (.*)":gmatch "%%a+" do
          print(name)
        end
      ]]):format(module))
      assert.is_truthy(next(known))
      for name in pairs(known) do
        assert.is_truthy(text:find("%f[%a]" .. name .. "%f[%A]"), name)
      end
    end
  end)

  it("has the methods, options and counters of pools", function()
    assert.same(run [[
      list("p:", getmetatable(require "callosum.pool".new()).__index)
    ]], set(shown(POLICY), "%f[%w](p:%a+)%("))
    local options = between("pool%.new%(", "p:attach%(")
    local known = set(read "lua/callosum/pool.lua",
      "%-%-%-@field (%a+)%? ")
    assert.is_truthy(known.maxSlots)
    for name in pairs(known) do
      assert.is_truthy(options:find("%f[%a]" .. name .. "%f[%A]"), name)
    end
    local counters = between("p:stats%(", "p:close%(")
    for name in pairs(run [[
      list("", require "callosum.pool".new():stats())
    ]]) do
      assert.is_truthy(counters:find("%f[%a]" .. name .. "%f[%A]"), name)
    end
  end)

  it("has policies that can be loaded", function()
    local count = 0
    for text in read(path(POLICY)):gmatch "\n%.Bd %-literal[^\n]*\n(.-)\n%.Ed"
    do
      if text:find "rover%.new" then
        command { "check", support.tmpfile(text) }
        count = count + 1
      end
    end
    assert.is_true(count >= 2)
  end)
end)

describe("the tables of promises", function()
  -- The rows: what is promised, and by what it is tested.
  local function rows()
    local text = read "spec/README.md"
      :match "\n## What is promised, and which specs show it\n(.*)$"
    local list = {}
    for promise, tested in text:gmatch "\n| ([^|\n]+) | ([^|\n]*)|%f[\n]" do
      list[#list + 1] = { promise, tested }
    end
    return list
  end

  it("name specs and goals that there are, for each promise", function()
    local goals = set(read "Makefile":match "\n%.PHONY:(.-[^\\])\n", "%l+")
    local promises = 0
    for _, row in ipairs(rows()) do
      local promise, tested = table.unpack(row)
      local isHeading = promise:find "^%*%*" or promise == "promise"
      assert.is_true(isHeading and true or tested:find "`" ~= nil, promise)
      for name in tested:gmatch "`([^`]*)`" do
        local goal = name:match "^make (%l+)$"
        local there = goal and goals[goal]
          or io.open(("spec/%s_spec.lua"):format(name))
        assert.is_truthy(there, name)
        if not goal then there:close() end
      end
      if not isHeading then promises = promises + 1 end
    end
    assert.is_true(promises > 20)
  end)

  it("name goals that the same page tells how to run", function()
    local text = read "spec/README.md"
    for _, row in ipairs(rows()) do
      for goal in row[2]:gmatch "`(make %l+)`" do
        assert.is_truthy(text:find("\n    " .. goal .. "%f[%A]"), goal)
      end
    end
  end)
end)
