-- The examples of programs that the rover or its host is part of, compiled as
-- their users would, against an installation.

local support = require "support"
local installed = support.installed
local server = require "callosum.server"
local uv = require "luv"

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

-- A Callosum server that sends back what it is sent, or with `deaf` does not
-- yet. It notes what came in `received` of each connection.
local function serve(deaf)
  local s = assert(server.new())
  s:on("connection", function(conn)
    conn.received = ""
    conn:on("data", function(chunk)
      conn.received = conn.received .. chunk
      if not deaf then conn:write(chunk) end
    end)
  end)
  support.atEnd(function() s:close() end)
  return s, tostring(select(2, s:address()))
end

-- Its connection that has a slot.
local function inSlot(s, slot)
  for _, conn in ipairs(s:connections()) do
    if conn.slot == slot then return conn end
  end
  error("nobody has slot " .. slot, 2)
end

-- Breaks a connection, whose slot is not free then.
local function reset(conn)
  conn.closed = true
  conn.handle:close_reset()
end

local function lines(text)
  local set = {}
  for line in text:gmatch "([^\n]*)\n" do set[line] = true end
  return set
end

-- Waits until a child has printed a line.
local function printed(child, line)
  local ok, err = pcall(support.run, function()
    return lines(child.output)[line] or child.code and child.pipes == 0
  end)
  if ok and lines(child.output)[line] then return end
  error(("%q was not printed, but:\n%s\n%s"):format(line, child.output, err), 2)
end

-- Does what the comment says that an example begins with, with ports of our
-- own, in a folder of its own, where all is installed. The last command becomes
-- the child that is returned.
local function asWritten(source)
  local folder = support.tmpdir()
  assert(uv.fs_symlink(support.ROOT .. "/examples", folder .. "/examples"))
  assert(uv.fs_mkdir(folder .. "/build", 493))
  local script = ""
  for line in read("examples/" .. source):gmatch "[^\n]*" do
    if not line:find "^ ?%p" then break end
    local command = line:match "^%p%p?   +(.*)" or line:match "^ %*   +(.*)"
    if command then script = script .. command .. "\n" end
  end
  local one, two = support.freePorts(2)
  script = script:gsub("\\\n", " "):gsub("4040", one):gsub("4041", two)
    :gsub("/tmp/receive", folder .. "/receive")
    :gsub(" &\n", " &\nuntil test -S " .. folder .. "/receive; do\n"
      .. "sleep 0.01\ndone\n"):gsub("([^\n]+\n)$", "exec %1")
  local env = { PATH = installed.path() }
  -- What loads the Lua module is no program of ours.
  if source == "plain.lua" then env.LD_PRELOAD = os.getenv "LD_PRELOAD" end
  return installed.spawn("sh", { "-ec", script }, { cwd = folder, env = env })
end

local function interrupt(child)
  uv.kill(-child.pid, "sigint") -- as a terminal does
end

-- Waits until what a child wrote to its standard error matches. (What it wrote
-- to its two outputs may come in another order.)
local function complained(child, pattern)
  local ok, err = pcall(support.run, function()
    return child.stderr:find(pattern) or child.code and child.pipes == 0
  end)
  if ok and child.stderr:find(pattern) then return end
  error(("no complaint of %q, but:\n%s\n%s"):format(pattern, child.output, err),
    2)
end

local function ends(child, code)
  assert.same({ code or 0, 0 }, { child:wait() }, child.output)
end

-- Compiles an example with all warnings.
local function compile(source, cc, static)
  return installed.compile("examples/" .. source, {
    cc = cc,
    static = static,
    packages = { source == "host.c" and "callosum-host" or "callosum-rover" },
    flags = { "-pedantic",
      source:find "%.cpp$" and "-std=c++17" or "-std=gnu11" },
  })
end

local COMPILERS = { c = { "gcc", "clang" }, cpp = { "g++", "clang++" } }

-- Makes a test for each of two ways to compile an example: `fn` is called with
-- a function that starts it.
local function compiled(source, what, fn)
  for i, cc in ipairs(COMPILERS[source:match "%a+$"]) do
    local static = i == 2
    it(("%s, by %s and %s"):format(what, cc, static and "static" or "shared"),
        function()
      local program = compile(source, cc, static)
      fn(function(args, options)
        return installed.spawn(program, args, options)
      end)
    end)
  end
end

-- What rover.c and plain.lua have in common.
local function keepsLowest(start)
  local s, port = serve()
  local child = start { port }
  local said = {}
  local function told(slot, what)
    said[what] = true
    printed(child, ("%s slot %d: %s"):format(port, slot, what))
  end

  for slot = 0, 3 do told(slot, "hello, 127.0.0.1") end
  told(4, "closed")
  inSlot(s, 2):close()
  told(2, "closed")
  reset(inSlot(s, 1))
  told(1, "connection reset by peer")
  told(4, "hello, 127.0.0.1")
  told(5, "closed")
  child:kill "sigint"
  ends(child)
  for _, slot in ipairs { 0, 2, 3, 4 } do told(slot, "closed") end
  for line in pairs(lines(child.stdout)) do
    assert.is_true(said[line:match("^" .. port .. " slot %d: (.*)")], line)
  end
  assert.equal("", child.stderr)

  s:close()
  local wrong = tostring(support.serve { send = "no slot\r\n" }.port)
  child = start { port, wrong }
  complained(child, port .. ": connection refused")
  child:kill "sigint"
  ends(child)
  child = start { wrong }
  complained(child, wrong .. ': not a slot line: "no slot\\r\\n"')
  child:kill "sigint"
  ends(child)
  assert.equal("", child.stdout)
end

describe("the example", function()
  for source, case in pairs {
    ["rover.c"] = { "slot 0: hello, 127.0.0.1\n", interrupt },
    ["plain.lua"] = { "slot 0: hello, 127.0.0.1\n", interrupt },
    ["host.c"] = { "kept: 1\n", function(child) child:write "q" end },
    ["load.cpp"] = { "%d+: 0 1 2[ %d]*\n", function() end },
    ["pass.c"] = { "slot 0: hello\n", interrupt, 130 },
    ["front.c"] = { "slots at %d+ for %d+\n", interrupt },
  } do
    it(source .. " runs as written", function()
      local child = asWritten(source)
      child:waitFor(case[1], support.MAKING)
      case[2](child)
      ends(child, case[3])
      assert.is_falsy(child.stderr:find(" error ", 1, true), child.stderr)
    end)
  end

  describe("rover.c", function()
    compiled("rover.c", "keeps the lowest slots, writes and reads", keepsLowest)
  end)

  it("plain.lua keeps the lowest slots, writes and reads", function()
    keepsLowest(function(ports)
      return installed.spawn("lua5.4", { "examples/plain.lua",
        table.unpack(ports) })
    end)
  end)

  describe("load.cpp", function()
    compiled("load.cpp", "prints the slots that each server gave",
        function(start)
      local _, one = serve()
      local _, two = serve()
      local child = start { one, two }
      ends(child)
      assert.equal("", child.stderr)
      local count = 0
      for port, slots in child.stdout:gmatch "(%d+):([ %d]*)\n" do
        assert.is_true(port == one or port == two)
        local nth = 0
        for slot in slots:gmatch "%d+" do
          assert.equal(nth, tonumber(slot))
          nth = nth + 1
        end
        count = count + nth
      end
      assert.equal(20, count, child.stdout)

      child = start { tostring(support.closedPort()) }
      ends(child)
      assert.equal("", child.stdout)
      assert.equal(20,
        select(2, child.stderr:gsub(": connection refused\n", "")))
      child = start { "70000" }
      ends(child, 1)
      assert.matches(": invalid argument\n$", child.stderr)
    end)
  end)

  describe("host.c", function()
    compiled("host.c", "calls its policy, is called by it, and reloads",
        function(start)
      local _, port = serve()
      local text = read "examples/host_policy.lua"
      local path = support.tmpfile(text)
      local child = start { path, port }
      child:waitFor "kept: 4\n"
      child:write "2"
      child:waitFor "kept: 2\n"
      child:write "r\n"
      child:waitFor "reloaded: 2 of 2 sockets stay\n"

      support.write(path, "program = require 'program'\n"
        .. "program.onLimit(print)\nprogram.report('x', {})\n")
      child:write "r\n"
      local message = "policy.lua:3: bad argument #2 to 'report' "
        .. "%(number expected, got table%)\n"
      child:waitFor("not reloaded: [^\n]*" .. message)
      complained(child, "^policy: [^\n]*" .. message)
      child:write "3\n" -- which the old policy hears
      child:waitFor "kept: 3\n"

      support.write(path,
        (text:gsub("host%.carry%.limit = limit", "error 'no'")))
      child:write "r"
      child:waitFor "reloaded: 3 of 3 sockets stay\n"
      child:write "0"
      complained(child, "\npolicy: [^\n]*policy.lua:%d+: no\n")
      child:write "q\n"
      ends(child)
    end)

    it("ends with its input, and tells when there is no policy", function()
      local program = compile "host.c"
      local _, port = serve()
      local child = installed.spawn(program, { "examples/host_policy.lua",
        port })
      child:waitFor "kept: 1\n"
      child:write()
      ends(child)
      child = installed.spawn(program, { "examples/none.lua" })
      ends(child, 1)
      assert.matches("^policy: cannot open examples/none.lua", child.stderr)
    end)
  end)

  describe("front.c", function()
    compiled("front.c", "gives slots for a server, and drains", function(start)
      local far, port = support.serve(), support.freePorts(1)
      local child = start { tostring(port), tostring(far.port) }
      printed(child, ("slots at %d for %d"):format(port, far.port))
      local client = support.connect(port)
      assert.equal("0", client:line())
      client:write "hello"
      support.run(function() return far.peers[1] end)
      far.peers[1]:take "^hello"
      far.peers[1]:write "welcome"
      client:take "^welcome"
      local probe = support.connect(port)
      assert.equal("1", probe:line())
      child:kill "sigint"
      probe:waitEnd()
      client:waitEnd()
      client:close()
      probe:close()
      ends(child)
      assert.equal("2 connections, 1 of them used",
        child.stdout:match "([^\n]*)\n$")

      local closed = support.closedPort()
      child = start { tostring(port), tostring(closed) }
      printed(child, ("slots at %d for %d"):format(port, closed))
      client = support.connect(port)
      client:line()
      client:write "hello"
      assert.equal("ECONNRESET", client:waitEnd())
      complained(child, "^the server is down: .*connection refused")
      child:kill "sigint"
      ends(child)
    end)
  end)

  describe("pass.c", function()
    -- Starts what it passes to.
    local function receiver()
      local path = support.tmpdir() .. "/receive"
      local child = installed.spawn("lua5.4", { "examples/receive.lua", path },
        { env = { LD_PRELOAD = false } })
      support.eventually(function() return uv.fs_stat(path) or child.code end)
      return child, path
    end

    compiled("pass.c", "gives connections to another process", function(start)
      local s, port = serve(true)
      local receive, path = receiver()
      local child = start { path, port }
      support.run(function()
        local first = s:connections()[1]
        return first and first.received == "hello"
      end)
      local conn = inSlot(s, 0)
      child:kill "sigkill"
      child:wait()
      assert.equal("", child.output)

      -- It is the receiver's, and its slot is not free.
      local other = support.connect(tonumber(port))
      assert.is_true(tonumber(other:line()) > 0)
      assert.equal(conn, inSlot(s, 0))
      conn:write "to you"
      printed(receive, "slot 0: to you")
      s:close()
      printed(receive, "slot 0: end")
      ends(receive)
    end)

    it("ends when the receiver has", function()
      local _, port = serve()
      local receive, path = receiver()
      local child = installed.spawn(compile "pass.c", { path, port })
      receive:waitFor "slot 0: hello\n"
      receive:kill()
      receive:wait()
      child:waitFor "slot %d+: broken pipe\n"
      ends(child)
      child = installed.spawn(child.command:match "^%S+", { path, port })
      ends(child, 1)
      assert.equal(path .. ": No such file or directory\n", child.stderr)
    end)
  end)
end)

-- Tells of each step whether there is a state, and whether it is the one that
-- `open` was given first, or last.
local STATES = [[
#include <callosum/host.h>
#include <stdio.h>

static struct lua_State *first, *last;

static void on_open(rover_host_t *host, struct lua_State *L) {
  (void)host;
  if (!first) first = L;
  last = L;
}

static void say(const char *when, const rover_host_t *host) {
  struct lua_State *L = rover_host_state(host);
  printf("%s:%s%s%s\n", when, L ? "" : " none", L && L == first ? " first" : "",
         L && L == last ? " last" : "");
}

static void write_policy(const char *path, const char *text) {
  FILE *file = fopen(path, "w");
  fputs(text, file);
  fclose(file);
}

static void on_closed(rover_host_t *host) { say("closed", host); }

static void on_reload(rover_host_t *host, const rover_host_reload_t *reload) {
  say(reload->status < 0 ? "not reloaded" : "reloaded", host);
  if (reload->status < 0) {
    write_policy(rover_host_data(host), "");
    rover_host_reload(host, "test");
  } else {
    rover_host_close(host, on_closed);
  }
}

int main(int argc, char *argv[]) {
  rover_host_options_t options = {.open = on_open, .reload = on_reload,
                                  .rover_optional = 1, .data = argv[argc - 1]};
  rover_host_t *host;
  if (rover_host_new(&host, uv_default_loop(), &options) < 0) return 1;
  say("new", host);
  rover_host_load(host, "/none", 0, NULL);
  say("not loaded", host);
  first = NULL;
  write_policy(argv[1], "");
  rover_host_load(host, argv[1], 0, NULL);
  say("loaded", host);
  write_policy(argv[1], "error 'no'");
  rover_host_reload(host, "test");
  uv_run(uv_default_loop(), UV_RUN_DEFAULT);
  return 0;
}
]]

describe("rover_host_state", function()
  it("gives the state of the policy that is loaded", function()
    local program = installed.compile(STATES,
      { packages = { "callosum-host" } })
    assert.equal([[
new: none
not loaded: none
loaded: first last
not reloaded: first
reloaded: last
closed: none
]], installed.run(program, { support.tmpdir() .. "/policy.lua" }))
  end)
end)
