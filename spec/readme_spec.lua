-- The README is what people try first: all that it shows is run here.

local support = require "support"
local installed = support.installed
local server = require "callosum.server"
local uv = require "luv"

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read "a"
end

local README = read "README.md"

-- Its blocks of code in a language.
local function blocks(language)
  local list = {}
  for text in README:gmatch("\n```" .. language .. "\n(.-\n)```\n") do
    list[#list + 1] = text
  end
  return list
end

local POLICY, MORE = table.unpack(blocks "lua")
local RETURN = "return r [^\n]*\n" -- with which the first policy ends

-- Replaces the one occurrence of a text.
local function replace(text, what, by)
  local count
  text, count = text:gsub(what:gsub("%p", "%%%0"), (by:gsub("%%", "%%%%")))
  assert.equal(1, count, what)
  return text
end

-- A Callosum server that echoes, and its port.
local function serve()
  local s = assert(server.new())
  s:on("connection", function(conn)
    conn:on("data", function(chunk) conn:write(chunk) end)
  end)
  support.atEnd(function() s:close() end)
  return s, tostring(select(2, s:address()))
end

-- A folder with the policy, as policy.lua.
local function folder()
  local dir = support.tmpdir()
  support.write(dir .. "/policy.lua", POLICY)
  return dir
end

describe("the README", function()
  it("is short", function()
    assert.is_true(select(2, README:gsub("\n", "")) <= 204)
  end)

  it("links to what there is, as do the other ones", function()
    local count = 0
    for _, name in ipairs { "README.md", "spec/README.md", "src/README.md",
        "spec/bench/README.md" } do
      for target in read(name):gmatch "%]%(([^)]+)%)" do
        local path, heading = target:match "^([^#]*)#?(.*)$"
        if not path:find "^https:" then
          path = name:gsub("[^/]*$", "") .. path
          assert.is_truthy(uv.fs_stat(path), path)
          if heading ~= "" then
            assert.is_truthy(read(path):lower():find("\n#+ " .. heading
              .. "%f[\n]"), heading)
          end
          count = count + 1
        end
      end
    end
    assert.is_true(count > 20)
  end)

  it("names sections that the manual has", function()
    local manual, count = read "src/host/callosum-policy.5", 0
    for name in README:gmatch "(%u+)%s+in%s+callosum%-policy%(5%)" do
      assert.is_truthy(manual:find("\n%.S[hs] " .. name .. "\n"), name)
      count = count + 1
    end
    assert.equal(8, count)
  end)

  it("shows what a simulated restart prints, and how it looks", function()
    local commands = blocks "text"[2]:gsub("\n  [^\n]*", "")
      :gsub("%f[^\n\0]%$ ", "")
    local dir = support.tmpdir()
    assert(uv.fs_symlink(support.ROOT .. "/examples", dir .. "/examples"))
    local child = installed.spawn("sh", { "-ec", commands },
      { cwd = dir, env = { PATH = installed.path() } })
    assert.same({ 0, 0 }, { child:wait(support.MAKING) }, child.output)

    -- Not to the last digit: that is chance, and changes with what it runs on.
    local count = 0
    for row, one, two in blocks "text"[2]:gmatch
        "\n(  %l[^\n]-) +([%d.]+) +([%d.]+)%f[\n]" do
      local first, second = child.stdout:match("\n" .. row:gsub("%p", "%%%0")
        .. " +([%d.]+) +([%d.]+)\n")
      for _, pair in ipairs { { one, first }, { two, second } } do
        local shown, got = tonumber(pair[1]), tonumber(pair[2])
        assert.is_true(math.abs(shown - got) <= 0.02 + 0.2 * shown,
          child.stdout)
      end
      count = count + 1
    end
    assert.equal(2, count)
    local drawn = read(dir .. "/connections.svg")
    local picture = read(README:match "!%[[^]]*%]%((.-)%)")
    for _, text in ipairs { "first_ten%.lua", "mended%.lua", "restart" } do
      assert.matches(text, drawn)
      assert.matches(text, picture)
    end
  end)

  it("has a `make run` that shows nine sockets", function()
    local ports = { support.freePorts(3) }
    local child = support.make { "run", "PORTS=" .. table.concat(ports, " ") }
    local rows = ""
    for _, port in ipairs(ports) do
      rows = rows .. ("  localhost:%d +3  0 1 2\n"):format(port)
    end
    support.eventually(function()
      return child.code
        or child.stdout:find("\n  server +kept  slots\n" .. rows)
    end, support.MAKING)
    assert.is_nil(child.code, child.output)
    child:kill()
    child:wait()
  end)

  it("has policies, all of which load", function()
    for _, text in ipairs(blocks "lua") do assert(load(text)) end
    assert.equal(2, #blocks "lua")
  end)

  it("has a policy that does what it says, by the commands it gives", function()
    local one, two = support.freePorts(2)
    local commands = README:match "\n```\n(\n    callosum%-rover check.-\n)\n"
      :gsub("4040", one):gsub("4041", two):gsub("%-%-for 10 ", "--for 0.1 ")
    local child = installed.spawn("sh", { "-ec", commands },
      { cwd = folder(), env = { PATH = installed.path() } })
    assert.same({ 0, 0 }, { child:wait() }, child.output)
    assert.equal(([[
rover 'main': every 1000 ms, 2 servers, starts
  localhost:%d: host localhost, port %d
  localhost:%d: host localhost, port %d
]]):format(one, one, two, two), (child.stdout:match "^(.-\n)localhost"))
    assert.matches("\nlocalhost:%d+\tslot 0\tkept\n", child.stdout)
    assert.matches("policy loaded file=policy.lua\n", child.stderr)
    assert.is_falsy(child.stderr:find " error ", child.stderr)
  end)

  it("has a pool and a relay to add to it", function()
    local s, port = serve()
    local listen = support.freePorts(1)
    local text = POLICY:gsub(RETURN, "")
      .. replace(MORE, "8080", tostring(listen))
    text = replace(text, "rovingInterval = 1000", "rovingInterval = 1")
    text = replace(text, "function(answer)", "function(answer) print(answer)")
    local child = support.policy(text, { args = { port } })
    child:waitFor "hello\n"
    local client = support.connect(listen)
    client:write "to all of them\n"
    assert.equal("to all of them\n", client:take "^.*\n")
    client:close()
    support.run(function() return #s:connections() > 1 end)
    support.stop(child)
    assert.is_falsy(child.stderr:find '"level":"error"', child.stderr)
  end)

  it("has a test of the policy, and the command that runs it", function()
    local dir = folder()
    local command = README:match "`(busted [^`]*)`"
    assert(uv.fs_symlink(support.ROOT .. "/examples", dir .. "/examples"))
    assert.is_truthy(read "examples/policy_spec.lua":find("\n--   " .. command
      .. "\n", 1, true))
    local child = installed.spawn("lua5.4", { "-e", "os.exit(os.execute '"
      .. command .. "')" }, { cwd = dir })
    assert.same({ 0, 0 }, { child:wait() }, child.output)
    assert.matches("1 success / 0 failures / 0 errors", child.stdout)
  end)

  for i, name in ipairs { "rover", "host" } do
    local text = blocks "c"[i]
    for _, cc in ipairs { "gcc", "clang", "g++", "clang++" } do
      it(("has a program of the %s, for %s"):format(name, cc), function()
        local flags = { "-std=gnu11", "-pedantic", "-Wno-unused-parameter" }
        local source = text
        if cc:find "++" then -- as the comment in it says
          assert.is_truthy(text:find("in C++, {} */", 1, true))
          source, flags[1] = replace(text, "= {0};", "= {};"), "-std=c++11"
        end
        local s, port = serve()
        if name == "rover" then source = replace(source, "4040", port) end
        local program = installed.compile(source, { cc = cc, flags = flags,
          packages = { "callosum-" .. name } })
        local dir = support.tmpdir()
        local child = installed.spawn(program, {}, { cwd = dir })
        if name == "rover" then
          support.run(function() return s:connections()[1] end)
          child:kill():wait()
          return assert.equal("", child.output)
        end

        assert.equal(1, (child:wait()))
        assert.equal("policy: cannot open policy.lua: No such file or "
          .. "directory\n", child.stderr)
        support.write(dir .. "/policy.lua", POLICY)
        child = installed.spawn(program, { port }, { cwd = dir })
        child:waitFor("localhost:" .. port .. "\tslot 0\tkept\n")
        child:kill():wait()
        assert.equal("", child.stderr)
      end)
    end
    assert.is_nil(blocks "c"[3])
  end

  it("says how they are compiled", function()
    local dir = support.tmpdir()
    support.write(dir .. "/main.c", blocks "c"[1])
    local child = installed.spawn("sh", { "-ec",
      (README:match "`(cc main.c [^`\n]*)`") },
      { cwd = dir, env = { PATH = installed.path() } })
    assert.same({ 0, 0 }, { child:wait(support.MAKING) }, child.output)
    assert.is_truthy(uv.fs_stat(dir .. "/a.out"))
  end)

  it("has a server in Python for rovers", function()
    local port = support.freePorts(1)
    support.spawn("python3", { "-c", replace(blocks "python"[1], "4040",
      tostring(port)) }, { env = { LD_PRELOAD = false } })
    local r = support.rover { port = port, rovingInterval = 1 }
    local sockets, answer = {}, nil
    r:on("connection", function(slot, socket)
      if sockets[slot] or slot > 3 then return socket:close() end
      sockets[slot] = socket
      socket:on("data", function(chunk) answer = chunk end)
    end)
    r:start()
    support.run(function() return sockets[3] end, support.MAKING)
    assert.equal(4, #r:sockets())
    sockets[2]:write "to you"
    support.run(function() return answer end)
    assert.equal("to you", answer)
    sockets[1]:close() -- so its slot is given again
    sockets[1] = nil
    support.run(function() return sockets[1] end)
    r:close()
  end)

  it("of the specs tells how one of them is run", function()
    local command = read "spec/README.md":match "\n    (busted [^#]*%S) +#"
    local child = support.spawn("sh", { "-c", command },
      { cwd = support.ROOT })
    assert.same({ 0, 0 }, { child:wait() }, child.output)
    assert.matches("\n1 passed, 0 failed", child.stdout)
  end)

  it("has figures that were measured", function()
    local measured = read "spec/bench/README.md"
    local count = 0
    for label, this, others in README:gmatch
        "\n| (%l[^|\n]*) | ([%d.,]+) | ([^|\n]*) |%f[\n]" do
      label = label:gsub(", C API$", "")
      local found
      for row in measured:gmatch "\n(| [^\n]*)" do
        local fits = row:find("| " .. label .. " |", 1, true)
          and row:find(" " .. this .. " (", 1, true)
        for each in others:gmatch "%a+ %d[%d.,]*" do
          fits = fits and row:find(each .. " (", 1, true)
        end
        found = found or fits
      end
      assert.is_truthy(found, label)
      count = count + 1
    end
    assert.equal(6, count)
  end)
end)
