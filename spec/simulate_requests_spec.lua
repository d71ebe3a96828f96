-- Requests in a simulation: how many, by whom, and what came of them.

local rate = require "callosum.simulate.rate"

describe("the rate of requests", function()
  it("is a share of what the servers can do, or each host's own", function()
    -- 20 servers with 8 workers, 10 ms a request, and 200 hosts
    assert.near(60, rate.parse("75%", 200, 20), 1e-9)
    assert.near(80, rate.parse(" 100 % ", 200, 20), 1e-9)
    assert.equal(20, rate.parse("20/s", 200, 20))
    assert.equal(0.5, rate.parse("0.5/s", 1, 1))
  end)

  it("has a unit", function()
    for _, text in ipairs { "75", "75/", "20/m", "1.2.3%", "%", "-1/s", "" } do
      local value, message = rate.parse(text, 200, 20)
      assert.is_nil(value)
      assert.equal("requests are a share of what all servers can do, such as "
        .. "75%, or how many each host makes, such as 20/s: got "
        .. ("%q"):format(text), message)
    end
  end)
end)
