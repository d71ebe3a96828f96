local dns = require "support.dns"
local lookups = require "support.lookups"

describe("A source of DNS that asks", function()
  for _, name in ipairs { "knot", "bind" } do
    describe(name, function()
      lookups.cases(it, function() return dns[name](lookups.RECORDS) end,
        { chains = true })
    end)
  end
end)
