-- What callosum-neighbours(7) says of Varnish.

local neighbours = require "support.neighbours"
local real = require "support.real"
local support = require "support"
local web = require "support.web"

local row, complete, seen = neighbours.section("VARNISH", it)

describe("Varnish", function()
  local path = real.find("varnishd", "varnish")
  seen(neighbours.output(path, "-V"):match "varnish%-(%d+%.%d+)")

  row("It refuses clients without an address in version 1", function(example)
    local behind = web.serve(function(request)
      request:answer(200, "hello\n")
    end).port
    local port = support.freePorts(1)
    local words = {}
    for word in example("varnish", { ["6086"] = port, ["8080"] = behind })
      :match("^%$ varnishd (.-)\n"):gmatch "%S+" do
      words[#words + 1] = word
    end
    local dir = real.dir()
    real.reachable(real.serve(path, { "-F", "-j", "none", "-n", dir .. "/work",
      table.unpack(words) }), port)

    -- What a client of the front's Unix socket gets after its slot line.
    local function answer(version)
      local socket = support.tmpdir() .. "/web.sock"
      local front = neighbours.command((example("command", {
        ["/run/callosum/web.sock"] = socket, ["6086"] = port })
        :gsub("v2", version)))
      local peer = support.connect(socket)
      peer:write "GET / HTTP/1.0\r\n\r\n"
      support.run(function() return peer.ended or peer.closed end)
      peer:close()
      assert.same({}, front.complaints())
      support.stop(front)
      return peer.received
    end
    assert.matches("^0\r\nHTTP/1.1 200 ", answer "v2")
    assert.equal("0\r\n", answer "v1")
  end)

  complete()
end)
