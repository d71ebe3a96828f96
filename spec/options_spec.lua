-- What new() of all modules have in common: one dialect of misuse.

local misuse = require("support").misuse

local MODULES = {
  rover = require "callosum.rover",
  relay = require "callosum.relay",
  pool = require "callosum.pool",
  server = require "callosum.server",
  slots = require "callosum.slots",
}

for name, module in pairs(MODULES) do
  describe("new of callosum." .. name, function()
    it("is called with a dot", function()
      misuse(function() module:new {} end,
        ("calling 'new' on bad self (call it with a dot, not a colon: "
          .. "%s.new { ... })"):format(name))
      misuse(function() module.new(module) end,
        ("bad argument #1 to 'new' (call it with a dot, not a colon: "
          .. "%s.new { ... })"):format(name))
    end)

    it("takes a table", function()
      misuse(function() module.new(5) end,
        "bad argument #1 to 'new' (table expected, got number)")
      misuse(function() module.new "x" end,
        "bad argument #1 to 'new' (table expected, got string)")
    end)

    it("names the options that there are", function()
      local ok, err = pcall(function() module.new { [{}] = 1 } end)
      assert.is_false(ok)
      assert.matches("unknown option '[table: 0x", err, 1, true)
      assert.matches("', valid are %l%a*", err)
    end)
  end)
end

describe("callosum.options", function()
  local options = require "callosum.options"
  local known = {
    { name = "count", type = "integer", min = 1, max = 9, default = 3 },
    { name = "share", type = "number", min = 0, max = 1 },
    { name = "gap", type = "integer", min = 1, max = 9, orFalse = true },
    { name = "way", type = "string", oneOf = { "a", "b" }, default = "a" },
    { name = "host", type = "string", max = 3 },
    { name = "flag", type = "boolean", default = false },
    { name = "fn", type = "function" },
    { name = "thing", type = "object", methods = { "get", "put" },
      what = "thing: object with get and put" },
  }
  local m = {}
  function m.new(given) return (options.check(1, given, known, "m")) end

  local function wrong(given, message)
    misuse(function() m.new(given) end,
      "bad argument #1 to 'new' (" .. message .. ")")
  end

  it("gives what was not given its default", function()
    assert.same({ count = 3, way = "a", flag = false }, m.new())
    local fn, thing = print, { get = print, put = print }
    assert.same({ count = 9, share = 0.5, gap = false, way = "b", host = "abc",
      flag = true, fn = fn, thing = thing }, m.new { count = 9, share = 0.5,
      gap = false, way = "b", host = "abc", flag = true, fn = fn,
      thing = thing })
  end)

  it("refuses what is of another kind", function()
    wrong({ count = 0 }, "count: integer from 1 to 9 expected, got 0")
    wrong({ count = 1.0 }, "count: integer from 1 to 9 expected, got 1.0")
    wrong({ count = "1" }, "count: integer from 1 to 9 expected, got '1'")
    wrong({ count = 0/0 }, "count: integer from 1 to 9 expected, got "
      .. tostring(0/0))
    wrong({ share = 1.5 }, "share: number from 0 to 1 expected, got 1.5")
    wrong({ share = 0/0 }, "share: number from 0 to 1 expected, got "
      .. tostring(0/0))
    wrong({ gap = true },
      "gap: integer from 1 to 9, or false expected, got true")
    wrong({ count = false }, "count: integer from 1 to 9 expected, got false")
    wrong({ way = "c" }, "way: one of 'a', 'b' expected, got 'c'")
    wrong({ host = "" },
      "host: string of 1 to 3 bytes expected, got an empty one")
    wrong({ host = "abcd" }, "host: string of 1 to 3 bytes expected, got one "
      .. "that is too long or contains NUL")
    wrong({ flag = 1 }, "flag: boolean expected, got 1")
    wrong({ fn = 1 }, "fn: function expected, got 1")
    wrong({ thing = 1 },
      "thing: object with get and put expected, got number")
    wrong({ thing = { get = print } },
      "thing: object with get and put expected, got table")
    local raising = setmetatable({}, { __index = function() error "no" end })
    wrong({ thing = raising },
      "thing: object with get and put expected, got table")
    wrong({ cuont = 1 }, "unknown option 'cuont', nearest is 'count'")
  end)
end)
