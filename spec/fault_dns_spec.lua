local faults = require "support.faults"

-- Names of spec/support/resolver.c, and what each attempt to such a server
-- brings. The servers listen on 127.0.0.1 only.
local rows = {
  { "unknown.test", "is not known", { "unreachable EAI_NONAME" } },
  { "failing.test", "cannot be asked for now", { "unreachable EAI_AGAIN" } },
  { "broken.test", "is refused by the resolver", { "unreachable EAI_FAIL" } },
  { "slow.test", "is answered in a while", { "connection", "close" } },
  { "late.test", "is answered too late", { "unreachable ETIMEDOUT" }, 100 },
  { "last.test", "has four addresses of which the last works",
    { "connection", "close" } },
}

describe("a host, when a server's name", function()
  local resolver

  setup(function()
    resolver = faults.compile "resolver"
  end)

  teardown(function() os.remove(resolver) end)

  -- A host that asks that resolver.
  local function host(connectTimeout)
    return faults.host({ maxAttempts = 50, connectTimeout = connectTimeout },
      { env = { LD_PRELOAD = faults.preload(resolver) } })
  end

  for _, row in ipairs(rows) do
    local name, what, brings, connectTimeout = table.unpack(row)
    for _, count in ipairs { 1, 500 } do
      it(("%s, with %d of them"):format(what, count), function()
        local h = host(connectTimeout)
        local bad = faults.serve { send = "1\r\n", finish = "close" }
        for i = 1, count do
          h:tell("add", "bad" .. i, name, bad.port)
        end
        for _ = 1, count do h:answer() end
        faults.check(h, brings, 50)
      end)
    end
  end

  it("is answered only once its servers are dropped, cancels in silence",
    function()
      local h = host(1000)
      -- Four of the look-ups are under way, the others wait for these.
      faults.drops(h, 500, "late.test", 1)
    end)
end)
