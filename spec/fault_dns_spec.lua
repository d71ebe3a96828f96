local faults = require "support.faults"
local support = require "support"
local uv = require "luv"

-- Names of spec/support/resolver.c, and what each attempt to such a server
-- brings. The servers listen on 127.0.0.1 only.
local rows = {
  { "unknown.test", "is not known", { "unreachable EAI_NONAME" } },
  { "failing.test", "cannot be asked for now", { "unreachable EAI_AGAIN" } },
  { "broken.test", "is refused by the resolver", { "unreachable EAI_FAIL" } },
  { "slow.test", "is answered in a while", { "connection", "close" } },
  { "silent.test", "is never answered", { "unreachable ETIMEDOUT" }, 100 },
  { "last.test", "has four addresses of which the last works",
    { "connection", "close" } },
}

describe("a host, when a server's name", function()
  local resolver, threads, folder

  setup(function()
    resolver, threads = faults.compile("resolver", "few_threads")
  end)

  teardown(function()
    os.remove(resolver)
    os.remove(threads)
  end)

  before_each(function() folder = support.tmpdir() end)

  -- A host that asks that resolver, and has a healthy server that has a name.
  -- Two of four threads look names up: each takes memory at its first look-up,
  -- which is not to be taken for what is lost.
  local function host(options, env)
    options.maxAttempts = 50
    local own = { LD_PRELOAD = faults.preload(resolver), RESOLVER = folder,
      UV_THREADPOOL_SIZE = "4" }
    for name, value in pairs(env or {}) do own[name] = value end
    local h = faults.host(options, { env = own })
    h.well = faults.serve { send = "0\r\n" }
    h:ask("add", "well", "known.test", h.well.port)
    -- No thread of a host that ends is to wait for an answer.
    support.atEnd(function() support.write(folder .. "/answer", "") end)
    return h
  end

  -- How often the resolver was asked for a name.
  local function asked(name)
    local count = 0
    for line in io.lines(folder .. "/asked") do
      if line == name then count = count + 1 end
    end
    return count
  end

  for _, row in ipairs(rows) do
    local name, what, brings, connectTimeout = table.unpack(row)
    for _, count in ipairs { 1, 500 } do
      it(("%s, with %d of them"):format(what, count), function()
        local h = host { connectTimeout = connectTimeout }
        local bad = faults.serve { send = "1\r\n", finish = "close" }
        for i = 1, count do
          h:tell("add", "bad" .. i, name, bad.port)
        end
        for _ = 1, count do h:answer() end
        faults.check(h, brings, 50)
      end)
    end
  end

  it("is not answered when its servers are dropped, cancels in silence",
    function()
      local h = host { connectTimeout = 10000 }
      -- They share a look-up, which goes on.
      faults.drops(h, 500, "silent.test", 1)
    end)

  it("is not answered, looks it up once, however often it is attempted",
    function()
      local h = host { connectTimeout = 50 }
      local server = faults.serve { send = "1\r\n", finish = "close" }
      h:ask("add", "bad1", "silent.test", server.port)
      for _ = 1, 3 do
        assert.same({ ["bad unreachable ETIMEDOUT"] = 10,
          ["well connection"] = 10 }, h:ask("rove", 10, 10).counts)
      end
      assert.equal("bad1: name 'silent.test' not resolved within 50 ms "
        .. "(ETIMEDOUT)", h:ask("said").text)
      assert.equal(1, asked "silent.test")
      -- Whoever waits when the answer comes has it, and the next asks anew.
      h:ask("begin", 1)
      support.write(folder .. "/answer", "")
      support.eventually(function()
        local bad = h:ask("results").bad
        if bad.inFlight == 0 and bad.connections == 0 then h:ask("begin", 1) end
        return bad.connections > 0 and bad.inFlight == 0
      end)
      local before = asked "silent.test"
      h:ask("begin", 1)
      support.eventually(function() return asked "silent.test" > before end)
      support.stop(h.child)
    end)

  it("is answered, tells all who have waited", function()
    local h = host { connectTimeout = 10000 }
    local server = faults.serve { send = "1\r\n", finish = "close" }
    h:ask("add", "bad1", "silent.test", server.port)
    h:ask("add", "bad2", "SILENT.test", server.port)
    h:ask("begin", 50)
    assert.equal(50, h:ask("results").bad.inFlight)
    support.write(folder .. "/answer", "")
    support.eventually(function()
      local got = h:ask "results"
      return got.counts["bad connection"] == 50 and got.bad.kept == 0
    end)
    assert.equal(1, asked "silent.test" + asked "SILENT.test")
    support.stop(h.child)
  end)

  it("is not answered, looks it up once, however many rovers attempt it",
    function()
      local h = host { connectTimeout = 60000 }
      local server = faults.serve { send = "1\r\n", finish = "close" }
      h:ask("more", 10, "silent.test", server.port)
      h:check()
      -- The first has begun it, and the others go on without that one.
      h:ask("close", 1)
      support.write(folder .. "/answer", "")
      support.eventually(function()
        return h:ask("results").counts["bad close"] == 9
      end)
      assert.equal(1, asked "silent.test")
      support.stop(h.child)
    end)

  it("is not answered, and so are six others, has the rest go on", function()
    local h = host({ connectTimeout = 100 }, { UV_THREADPOOL_SIZE = false })
    for i = 1, 7 do h:ask("add", "bad" .. i, "silent" .. i .. ".test", 1) end
    faults.check(h, { "unreachable ETIMEDOUT" }, 50)
  end)

  it("is looked up, has 16 threads, or as many as UV_THREADPOOL_SIZE says",
    function()
      for set, count in pairs { [false] = 16, ["3"] = 3 } do
        local h = host({}, { UV_THREADPOOL_SIZE = set })
        local function tasks()
          local number = 0
          local list = assert(uv.fs_scandir("/proc/" .. h.pid .. "/task"))
          for _ in uv.fs_scandir_next, list do number = number + 1 end
          return number
        end
        local before = tasks()
        h:check()
        assert.equal(before + count, tasks())
        support.stop(h.child)
      end
    end)

  it("has several addresses, spreads the attempts over them", function()
    local h = host { seed = 1 }
    -- It listens at all of them.
    local server = faults.serve { host = "0.0.0.0", send = "1\r\n",
      finish = "close" }
    h:ask("add", "bad1", "four.test", server.port)
    h:ask("rove", 200, 0)
    local reached = h:ask "reached"
    reached["127.0.0.1"] = nil -- this one tells us
    local all = 0
    for i = 2, 5 do
      local count = reached["127.0.0." .. i]
      assert.is_true(count and count > 30 and count < 70, count)
      all = all + count
    end
    assert.equal(200, all)
    support.stop(h.child)
  end)

  it("has addresses of both families, begins with those put first", function()
    local h = host { seed = 1 }
    local server = faults.serve { host = "::", send = "1\r\n",
      finish = "close" }
    local second = faults.serve { host = "0.0.0.0", send = "1\r\n",
      finish = "close" }
    h:ask("add", "bad1", "both.test", server.port)
    h:ask("rove", 20, 0)
    h:ask("drop", "bad1")
    h:ask("add", "bad2", "both.test", second.port)
    h:ask("rove", 20, 0)
    local reached = h:ask "reached"
    assert.equal(20, reached["::1"])
    assert.equal(20, reached["127.0.0.2"] + reached["127.0.0.3"])
    support.stop(h.child)
  end)

  -- A host with a named server, where no threads can be made while there is a
  -- file; returns it and the path of that.
  local function withFewThreads()
    local few = folder .. "/few"
    local h = host({}, { LD_PRELOAD = faults.preload(resolver, threads),
      FEW_THREADS = few })
    local server = faults.serve { send = "1\r\n", finish = "close" }
    h:ask("add", "bad1", "known.test", server.port)
    return h, few
  end

  it("is to be looked up, and no threads can be made, tells `error`",
    function()
      local h, few = withFewThreads()
      support.write(few, "")
      -- A socket that it keeps tells us.
      assert.same({ ["bad error EAGAIN"] = 3, ["well error EAGAIN"] = 3 },
        h:ask("rove", 3, 3).counts)
      assert.matches("^%w+: this machine has no room for the threads that "
        .. "look names up %(EAGAIN%); raise the limit of processes, "
        .. "or lower UV_THREADPOOL_SIZE$", h:ask("said").text)
      os.remove(few)
      assert.same({ ["bad connection"] = 3, ["bad close"] = 3,
        ["well connection"] = 3 }, h:ask("rove", 3, 3).counts)
      -- Once there are, it does not matter any more.
      support.write(few, "")
      assert.same({ ["bad connection"] = 3, ["bad close"] = 3,
        ["well connection"] = 3 }, h:ask("rove", 3, 3).counts)
      support.stop(h.child)
    end)

  it("has been looked up, wants no threads for the names of other rovers",
    function()
      local h, few = withFewThreads()
      h:ask("rove", 1, 0)
      support.write(few, "")
      h:check()
      support.stop(h.child)
    end)
end)
