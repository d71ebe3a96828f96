local neighbours = require "support.neighbours"
local support = require "support"

local installed = support.installed

local COMMAND, POLICY = "man1/callosum-rover.1", "man5/callosum-policy.5"
local SIMULATE, STATUS = "man1/callosum-simulate.1", "man5/callosum-status.5"
local NEIGHBOURS = "man7/callosum-neighbours.7"

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
  for _, page in ipairs { COMMAND, POLICY, SIMULATE, STATUS, NEIGHBOURS } do
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
        "host/limits", "host/sources", "host/later", "host/bind_host",
        "host/steer" } do
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

describe("the manual of neighbours", function()
  it("names the spec that shows each row", function()
    local rows = neighbours.read(path(NEIGHBOURS))
    assert.is_true(#rows > 0)
    for _, row in ipairs(rows) do
      assert.is_truthy(row.spec, row.title)
      assert.is_truthy(read(row.spec):find(('row("%s"'):format(row.title), 1,
        true), row.title)
    end
  end)

  -- `In` and the like are macros of mdoc(7), also within a line.
  it("shows each title as it is written", function()
    for _, row in ipairs(neighbours.read(path(NEIGHBOURS))) do
      assert.is_truthy(shown(NEIGHBOURS):find("\n   " .. row.title .. "\n", 1,
        true), row.title)
    end
  end)

  it("names the versions seen, in each section that has rows", function()
    local rows, said = neighbours.read(path(NEIGHBOURS))
    for _, row in ipairs(rows) do
      assert.matches("^Seen with [^\n]*%d", said[row.section])
    end
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
        local there = goal and goals[goal] or io.open(name:find "/" and name
          or ("spec/%s_spec.lua"):format(name))
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
