local support = require "support"

-- Runs spec/run on files with these contents, and returns the child.
local function run(contents, env)
  local dir, files = support.tmpdir(), {}
  for name, content in pairs(contents) do
    files[#files + 1] = support.write(dir .. "/" .. name, content)
  end
  local own = { LD_PRELOAD = false, BUILD = "build" }
  for name, value in pairs(env or {}) do own[name] = value end
  local child = support.spawn("spec/run", files, { env = own })
  child:wait()
  return child
end

local PASSES = [[it("passes", function() end)]]
local FAILS = [[
it("passes", function() end)
it("fails", function() error "here is why" end)
it("is put off", function() pending "later" end)
]]

describe("spec/run", function()
  it("counts the tests of all files, and shows no output of theirs", function()
    local child = run { ["a_spec.lua"] = PASSES, ["b_spec.lua"] = PASSES }
    assert.equal(0, child.code, child.output)
    assert.matches("a_spec.lua +1 passed, 0 failed, %d+ s\n", child.stdout)
    assert.matches("b_spec.lua +1 passed, 0 failed, %d+ s\n", child.stdout)
    assert.matches("\n2 passed, 0 failed\n$", child.stdout)
  end)

  it("fails if a test does, and shows what that file said", function()
    local child = run { ["a_spec.lua"] = PASSES, ["b_spec.lua"] = FAILS }
    assert.equal(1, child.code)
    assert.matches("here is why", child.stdout)
    assert.matches("\n2 passed, 1 failed, 1 skipped\n$", child.stdout)
  end)

  for what, content in pairs {
    ["is empty"] = "",
    ["cannot be read as Lua"] = "it(",
    ["ends the process early"] = "os.exit(0)",
    ["is ended by a signal"] = [[
      require "luv".kill(require "luv".os_getpid(), "sigkill")]],
  } do
    it("counts a file that " .. what .. " as failed", function()
      local child = run { ["a_spec.lua"] = PASSES, ["b_spec.lua"] = content }
      assert.equal(1, child.code, child.output)
      assert.matches("\n1 passed, 1 failed\n$", child.stdout)
    end)
  end

  it("fails if there is no such file", function()
    local child = support.spawn("spec/run", { "spec/none_spec.lua" },
      { env = { LD_PRELOAD = false } })
    assert.equal(1, (child:wait()))
    assert.matches("spec/none_spec.lua", child.stderr)
    assert.matches("\n0 passed, 1 failed\n$", child.stdout)
  end)

  it("names no file to begin with that is not there", function()
    local file <close> = assert(io.open "spec/run")
    local count = 0
    local list = file:read "a":match "\n(long=%([^)]+%))"
    local shell <close> = assert(io.popen(
      ("bash -c '%s; printf \"%%s\\n\" \"${long[@]}\"'"):format(list)))
    for name in shell:lines() do
      assert.is_truthy(require "luv".fs_stat(("spec/%s.lua"):format(name)))
      count = count + 1
    end
    assert.is_true(count > 5)
  end)

  it("gives each file a network of its own", function()
    local content = [[
      it("has all ports for itself", function()
        local uv = require "luv"
        local tcp = uv.new_tcp()
        assert(tcp:bind("127.0.0.1", 4040))
        assert(tcp:listen(1, function() end))
        uv.sleep(300)
        tcp:close()
      end)]]
    local child = run { ["a_spec.lua"] = content, ["b_spec.lua"] = content }
    assert.equal(0, child.code, child.output)
  end)

  it("shows a file no processes of another that have the same port", function()
    local port = support.tmpdir() -- stands for one, and is in no other command
    local ours = support.spawn("sh", { "-c", "read line", "sh", port })
    local found = support.processes(port)
    assert.same({ 1, ours.pid }, { #found, found[1] and found[1].pid })
    local child = run { ["a_spec.lua"] = ([[
      it("sees none", function()
        assert.same({}, require "support".processes(%q))
      end)]]):format(port) }
    assert.equal(0, child.code, child.output)
  end)

  it("runs busted as it is told to", function()
    local child = run({ ["a_spec.lua"] = PASSES },
      { BUSTED = "env MARK=seen busted", JOBS = "1" })
    assert.matches("\n1 passed, 0 failed\n$", child.stdout)
    child = run({ ["a_spec.lua"] = [[
      it("sees it", function() assert.equal("seen", os.getenv "MARK") end)]] },
      { BUSTED = "env MARK=seen busted" })
    assert.matches("\n1 passed, 0 failed\n$", child.stdout)
  end)
end)
