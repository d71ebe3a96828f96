local nearest = require "callosum.simulate.nearest"
local servers = require "callosum.simulate.servers"

-- The servers of a text, as "NAME HOST PORT" each.
local function parsed(text)
  local list = {}
  for i, each in ipairs(assert(servers.parse(text))) do
    list[i] = ("%s %s %d"):format(each.name, each.host, each.port)
  end
  return list
end

describe("the servers of a simulation", function()
  it("are a number of them on ports of localhost", function()
    assert.same({ "s1 localhost 4040", "s2 localhost 4041" }, parsed "2")
    assert.equal(10000, #parsed "10000")
  end)

  it("are addresses with commas between them", function()
    assert.same({ "s1 a.example 80", "s2 10.0.0.7 4040", "s3 ::1 4040" },
      parsed "a.example:80,10.0.0.7:4040,[::1]:4040")
  end)

  it("are each number of a range", function()
    assert.same({ "s1 10.0.0.8 1", "s2 10.0.0.9 1", "s3 10.0.0.10 1" },
      parsed "10.0.0.[8-10]:1")
    assert.same({ "s1 a1b1 7", "s2 a1b2 7", "s3 a2b1 7", "s4 a2b2 7" },
      parsed "a[1-2]b[1-2]:7")
    assert.same({ "s1 h 7", "s2 h 8" }, parsed "h:[7-8]")
  end)

  for _, text in ipairs { "0", "10001", "-1", "", ",", "localhost", "a:0",
      "a:65536", "a:b", ":4040", "a:1,a:1", "a:[1-20000]", "a:[2-1]" } do
    it(("are not '%s'"):format(text), function()
      local list, message = servers.parse(text)
      assert.is_nil(list)
      assert.matches("not '" .. text:gsub("%p", "%%%0") .. "'$", message)
    end)
  end

  it("reach the policy by its arguments", function()
    local list = servers.parse "a:1,[::1]:2"
    assert.same({ "1", "2" }, servers.arguments({}, list))
    assert.same({ "x", "1", "2", "a:1", "[::1]:2", "{port}" },
      servers.arguments({ "x", "{ports}", "{addresses}", "{port}" }, list))
  end)

  it("can be more later", function()
    assert.same({ name = "s3", host = "localhost", port = 4042 },
      servers.next(servers.parse "2"))
    assert.same({ name = "s2", host = "s2", port = 4040 },
      servers.next(servers.parse "a:65535"))
  end)
end)

describe("a mistyped name", function()
  it("is told the nearest valid one", function()
    local valid = { "cold", "crash", "roll" }
    assert.equal("nearest is 'crash'", nearest("crush", valid))
    assert.equal("nearest is 'roll'", nearest("rol", valid))
    assert.equal("valid are cold, crash, roll", nearest("xyz", valid))
    assert.equal("valid are cold, crash, roll", nearest("", valid))
  end)
end)
