local http = require "support.http"
local support = require "support"

local ask, get = http.ask, http.get
local logged, stop = support.logged, support.stop

describe("a running host", function()
  it("answers at a Unix socket and a port", function()
    local child, path, address = http.policy()
    for _, at in ipairs { path, address } do
      local body, headers = get(at, "/metrics")
      assert.matches("\n# TYPE callosum_rover_attempts_total counter\n", body)
      assert.equal("text/plain; version=0.0.4; charset=utf-8",
        headers["content-type"])
      assert.matches("^<!", (get(at, "/")))
      assert.matches("/metrics", ask(at, "GET", "/nothing").body)
    end
    stop(child)
    assert.is_nil(require "luv".fs_lstat(path))
  end)

  it("answers in a connection as often as it is asked, in order", function()
    local child, path = http.policy()
    local peer = http.connect(path)
    for _ = 1, 3 do get(peer, "/metrics") end
    peer:write(http.request("GET", "/") .. http.request("GET", "/nothing")
      .. http.request("HEAD", "/metrics")
      .. http.request("GET", "/", { Connection = "close" })
      .. http.request("GET", "/"))
    assert.equal(200, http.answer(peer).status)
    assert.equal(404, http.answer(peer).status)
    assert.equal(200, http.answer(peer, true).status)
    assert.equal("close", http.answer(peer).headers.connection)
    assert.is_nil(peer:waitEnd())
    assert.equal("", peer.received)
    stop(child)
  end)

  it("answers whether a policy can be reloaded or not", function()
    local child, path = http.policy()
    support.write(child.path, "error 'on purpose'")
    child:kill "sighup"
    logged(child, "reload failed, the old policy goes on")
    get(path, "/metrics")
    support.write(child.path, http.IDLE)
    child:kill "sighup"
    logged(child, "policy reloaded")
    get(path, "/metrics")
    stop(child)
  end)

  it("gives OpenMetrics to who accepts it", function()
    local child, path = http.policy()
    local body, headers = get(path, "/metrics", { Accept =
      "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5" })
    assert.equal("application/openmetrics-text; version=1.0.0; charset=utf-8",
      headers["content-type"])
    assert.matches("\n# EOF\n$", body)
    assert.equal(400, ask(path, "GET", "/metrics?servers=some").status)
    stop(child)
  end)
end)
