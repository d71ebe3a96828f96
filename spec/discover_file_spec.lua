local discover = require "callosum.discover"
local faults = require "support.faults"
local sources = require "support.sources"
local support = require "support"
local uv = require "luv"

local counted, file, has, ids = sources.counted, sources.file, sources.has,
  sources.ids
local misuse, run = support.misuse, support.run

describe("discover.file", function()
  describe("takes", function()
    for _, case in ipairs {
      { "a plain list", "10.0.0.7:4040\nlocalhost:1\n",
        "10.0.0.7:4040 localhost:1" },
      { "comments, blanks, CR LF, and no newline at the end",
        "# ours\r\n\r\n\t10.0.0.7:4040\t# new\r\n  10.0.0.8:4040",
        "10.0.0.7:4040 10.0.0.8:4040" },
      { "IPv6, with or without a port", "[::1]:4040\n::2\n[2001:DB8:0::3]\n",
        "[2001:db8::3]:7 [::1]:4040 [::2]:7" },
      { "a link-local address with its zone", "[fe80:0::1%lo]:4040",
        "[fe80::1%lo]:4040" },
      { "names, in any case, with a dot at the end", "DB1.Example.:4040\na_b",
        "a_b:7 db1.example:4040" },
      { "the same server once", "10.0.0.7:4040\n10.0.0.7:4040\n[::1]:7\n::1",
        "10.0.0.7:4040 [::1]:7" },
      { "JSON", '[{"targets": ["10.0.0.7:4040", "[::1]:4041"]}]',
        "10.0.0.7:4040 [::1]:4041" },
      { "JSON of several groups, with labels and more", [[
          [ { "targets": ["10.0.0.7"], "labels": { "env": "a" }, "more": [] },
            { "targets": [] }, { "targets": ["10.0.0.8:4040"] } ]
        ]], "10.0.0.7:7 10.0.0.8:4040" },
    } do
      it(case[1], function()
        local d = file(case[2], { port = 7 })
        has(d.rover, case[3])
        assert.same({}, d.errors)
        assert.is_false(d.source:stats().stale)
      end)
    end
  end)

  it("takes weights", function()
    local d = file "10.0.0.7:1 20\n10.0.0.8:1"
    has(d.rover, "10.0.0.7:1 10.0.0.8:1")
    assert.same({ ["10.0.0.7:1"] = { host = "10.0.0.7", port = 1, weight = 20 },
      ["10.0.0.8:1"] = { host = "10.0.0.8", port = 1 } }, d.rover:servers())
    d.put [[
      [{"targets": ["10.0.0.7:1"], "labels": {"weight": "3"}},
       {"targets": ["10.0.0.8:1"], "labels": {"weight": 4}}]
    ]]
    run(function() return d.rover:servers()["10.0.0.8:1"].weight == 4 end)
    assert.equal(3, d.rover:servers()["10.0.0.7:1"].weight)
    assert.same({}, d.dropped)
  end)

  describe("refuses all of", function()
    for _, case in ipairs {
      { "a file that is not there", nil, "ENOENT",
        "no such file or directory" },
      { "an empty file", "", "EPROTO", "empty" },
      { "blanks", " \r\n\t\n", "EPROTO", "empty" },
      { "a list that is cut off", "10.0.0.7:1\n10.0.0.", "EPROTO",
        "line 2: 'host:port' expected, got '10.0.0.'" },
      { "a port of 0", "a:0", "EPROTO",
        "line 1: 'host:port' expected, got 'a:0'" },
      { "a port beyond 65535", "a:65536", "EPROTO", "got 'a:65536'" },
      { "no port", "a:1\n\n10.0.0.7\n", "EPROTO", "line 3:" },
      { "a weight that is none", "a:1 x", "EPROTO", "got 'a:1 x'" },
      { "brackets that do not close", "[::1:1", "EPROTO", "got '[::1:1'" },
      { "addresses that are none", "10.0.0.256:1", "EPROTO", "line 1:" },
      { "names that are none", "a b:1", "EPROTO", "line 1:" },
      { "control characters", "a\27[2J:1", "EPROTO", "got 'a?[2J:1'" },
      { "a NUL", "a\0b:1", "EPROTO", "got 'a'" },
      { "JSON that is cut off", '[{"targets": ["a:1", "b', "EPROTO",
        "wrong JSON in line 1:" },
      { "JSON with control characters", "[{\27[2J", "EPROTO",
        "wrong JSON in line 1: string or '}' expected near '?'" },
      { "zones that are no interface's", '[{"targets": ["fe80::1%a\\nb:1"]}]',
        "EPROTO", "got 'fe80::1%a?b:1'" },
      { "JSON with something behind it", '[{"targets": ["a:1"]}] x',
        "EPROTO", "wrong JSON" },
      { "JSON with a key twice", '[{"targets": [], "targets": ["a:1"]}]',
        "EPROTO", "wrong JSON in line 1: duplicate object key" },
      { "JSON that is no array", '{"targets": ["a:1"]}', "EPROTO",
        "an array of groups of targets expected" },
      { "JSON of other things", '["a:1"]', "EPROTO",
        "group 1: an object expected" },
      { "groups without targets", '[{}]', "EPROTO",
        "group 1: targets: an array expected" },
      { "targets that are no strings",
        '[{"targets": ["a:1"]}, {"targets": [1]}]', "EPROTO",
        "group 2: targets: strings expected" },
      { "targets that are no servers", '[{"targets": ["a:1", "http://b"]}]',
        "EPROTO", "group 1: target 2: 'host:port' expected, got 'http://b'" },
      { "labels that are none", '[{"targets": ["a:1"], "labels": 1}]',
        "EPROTO", "group 1: labels: an object expected" },
      { "weights that are none",
        '[{"targets": ["a:1"], "labels": {"weight": "-1"}}]',
        "EPROTO", "labels: weight: a whole number" },
      { "JSON that is deep", ("["):rep(100000), "EPROTO",
        "JSON of more than 16 levels" },
      { "too many", function()
          local list = {}
          for i = 0, 100000 do list[i + 1] = ("h%d:1\n"):format(i) end
          return table.concat(list)
        end, "E2BIG", "more than 100000 servers" },
    } do
      it(case[1], function()
        local text = case[2]
        if type(text) == "function" then text = text() end
        local d = file(text, { interval = 60000, timeout = 60000 })
        run(function() return #d.errors > 0 end)
        assert.equal(case[3], d.errors[1].code)
        local message = ("file %s: no list: "):format(d.path)
        assert.equal(message, d.errors[1].message:sub(1, #message))
        assert.is_truthy(d.errors[1].message:find(case[4], 1, true),
          d.errors[1].message)
        assert.equal("", ids(d.rover))
        assert.is_true(d.source:stats().stale)
      end)
    end

    it("what is no file", function()
      local d = sources.attach(support.tmpdir())
      run(function() return #d.errors > 0 end)
      assert.matches("not a regular file", d.errors[1].message)
    end)
  end)

  it("sees at once that it was changed, replaced, removed or made", function()
    local path = support.tmpdir() .. "/a/servers"
    local d = sources.attach(path, { interval = 3600000 })
    run(function() return #d.errors == 1 end) -- then it would wait for a second
    assert(uv.fs_mkdir(path:match "^(.*)/", 511))
    sources.put(path, "a:1")
    has(d.rover, "a:1")
    support.write(path, "a:1\nb:1")
    has(d.rover, "a:1 b:1")
    sources.put(path, "b:1\na:1\nc:1")
    has(d.rover, "a:1 b:1 c:1")
    sources.put(path, nil)
    run(function() return d.errors[#d.errors].code == "ENOENT"
      and d.source:stats().stale end)
    assert.equal("a:1 b:1 c:1", ids(d.rover))
    sources.put(path, "a:1\nb:1")
    has(d.rover, "a:1 b:1")
  end)

  it("follows a link that is turned, as those of Kubernetes", function()
    local dir = support.tmpdir()
    for i = 1, 2 do
      assert(uv.fs_mkdir(dir .. "/" .. i, 511))
      support.write(dir .. "/" .. i .. "/servers",
        ("a:1\n%s:1\n"):format(i == 1 and "b" or "c"))
    end
    assert(uv.fs_symlink("1", dir .. "/data"))
    local d = sources.attach(dir .. "/data/servers", { interval = 3600000 })
    has(d.rover, "a:1 b:1")
    assert(uv.fs_symlink("2", dir .. "/data.new"))
    assert(os.rename(dir .. "/data.new", dir .. "/data"))
    has(d.rover, "a:1 c:1")
  end)

  it("reads nothing again that has not changed", function()
    local d = file "a:1"
    counted(d.source, "unchanged", 5)
    local stats = d.source:stats()
    assert.equal(1, stats.changes)
    assert.equal(1, stats.added)
    assert.same({ "a:1" }, d.added)
  end)

  -- Runs a script with the file `hung` of a folder hung, see support/hung.c.
  local function hung(script)
    local library, folder = faults.compile "hung", support.tmpdir()
    finally(function() os.remove(library) end)
    local gate = faults.gate()
    local child = support.spawnLua([[
      local uv = require "luv"
      local folder, gate = ...
      local path = folder .. "/servers"
      gate = assert(uv.fs_open(gate, "r+", 0))
      function pass(count) assert(uv.fs_write(gate, ("\n"):rep(count))) end
      function put(name, text)
        local file = assert(io.open(folder .. "/new", "w"))
        file:write(text)
        file:close()
        assert(os.rename(folder .. "/new", folder .. "/" .. name))
      end
      function file(options)
        local r = require "callosum.rover".new()
        local d = require "callosum.discover".file(options):attach(r)
        return d, function() d:close() r:close() end
      end
      clock = uv.new_timer()
    ]] .. script .. " uv.run()", { args = { folder, gate.GATE }, env = {
      LD_PRELOAD = faults.preload(library), HUNG = folder .. "/hung",
      GATE = gate.GATE } })
    assert.equal(0, (child:wait()), child.output)
    return child.stdout
  end

  it("that hangs is read once at a time, and then anew", function()
    assert.equal("b:1\n", hung [[
      put("hung", "a:1")
      local failures = 0
      local d, close = file { path = folder .. "/hung", timeout = 50 }
      d:on("error", function(err)
        failures = failures + 1
        assert(tostring(err):find("no answer within 50 ms", 1, true))
        if failures < 6 then return put("hung", "a:1") end
        if failures > 6 then return end
        uv.fs_stat(folder, function() -- there is a thread for it
          put("hung", "b:1")
          pass(100)
          clock:start(500, 500, function() put("hung", "b:1") end)
        end)
      end)
      d:on("update", function(added)
        print(table.concat(added, " "))
        clock:close()
        close()
      end)
    ]])
  end)

  it("is read whole, though it is written meanwhile", function()
    for times, expected in pairs { [2] = "a:1 s1:1 s2:1\n",
        [3] = "it changes while it is read\na:1 s1:1 s2:1 s3:1\n" } do
      local library, path = faults.compile "torn", support.tmpfile "a:1\n"
      local child = support.spawnLua([[
        local d = require "callosum.discover".file { path = ... }
        local r = require "callosum.rover".new {}
        d:on("error", function(err)
          print((tostring(err):match "list: (.*) %("))
        end)
        d:on("update", function(added)
          table.sort(added)
          print(table.concat(added, " "))
          d:close()
          r:close()
        end)
        d:attach(r)
        require "luv".run()
      ]], { args = { path }, env = { TORN = path, TIMES = times,
        LD_PRELOAD = faults.preload(library) } })
      assert.equal(0, (child:wait()), child.output)
      assert.equal(expected, child.stdout)
    end
  end)

  it("has the latest list in its cache, even if writing that takes long",
    function()
      assert.equal("a:1\nb:1\nc:1\n", hung [[
        local lists = { "a:1", "a:1\nb:1", "a:1\nb:1\nc:1" }
        put("servers", lists[1])
        local d, close = file { path = path, interval = 10, removalDelay = 0,
          cache = folder .. "/hung" }
        d:on("error", error)
        d:on("update", function(added)
          print(added[1])
          table.remove(lists, 1)
          if lists[1] then return put("servers", lists[1]) end
          pass(100)
          clock:start(5, 5, function()
            local cache = io.open(folder .. "/hung")
            if not cache or not cache:read "a":find("c:1", 1, true) then
              return
            end
            clock:close()
            close()
          end)
        end)
        pass(1) -- it is read first
      ]])
    end)

  it("refuses what it does not know", function()
    local function refused(options, what)
      misuse(function() discover.file(options) end,
        "bad argument #1 to 'file' (" .. what .. ")")
    end
    refused({}, "path: string of 1 to 4096 bytes expected, got nil")
    refused({ path = 1 },
      "path: string of 1 to 4096 bytes expected, got number")
    refused({ paht = "x" }, "unknown option 'paht', nearest is 'path'")
    refused({ path = "x", port = 0 },
      "port: integer from 1 to 65535 expected, got 0")
    refused({ path = "x", maxDrop = 2 },
      "maxDrop: number from 0 to 1 expected, got 2")
    refused({ path = "x", family = "ipv5" },
      "family: 'auto', 'ipv4' or 'ipv6' expected, got 'ipv5'")
    refused({ path = "x", cache = true },
      "cache: string of 1 to 4096 bytes expected, got boolean")
  end)
end)
