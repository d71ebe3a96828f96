local reloads = require "support.reloads"
local support = require "support"

local connect, logged, stop = support.connect, support.logged, support.stop
local fails, reload, start = reloads.fails, reloads.reload, reloads.start

describe("a policy that serves", function()
  -- The port is the first argument. Clients are told the generation; the script
  -- that is loaded anew waits for a file of the name that the second is.
  local SERVES = [[
    rover.new()
    s = assert(require "callosum.server".new { port = tonumber(host.args[1]) })
    s:on("connection", function(conn) conn:write(host.generation .. "\r\n") end)
  ]]
  local WAITS = SERVES .. [[
    log("waits", { generation = host.generation })
    if host.generation > 1 then
      repeat local file = io.open(host.args[2]) until file
    end
  ]]

  -- What a client of it is told, first its slot.
  local function told(client) return client:line() .. " " .. client:line() end

  -- Connects while the script is loaded anew.
  local function meanwhile(child, port, path)
    child:kill "sighup"
    logged(child, "waits", 2)
    local client = connect(port)
    support.run(function() return client.connected end)
    support.write(path, "")
    return client
  end

  local function begin(script)
    local port = support.freePorts(1)
    local path = support.tmpdir() .. "/go"
    return start(script or SERVES, port, path), port, path
  end

  it("goes on at its port in a reload, which refuses nobody", function()
    local child, port, path = begin(WAITS)
    local client = connect(port)
    assert.equal("0 1", told(client))
    local newcomer = meanwhile(child, port, path)
    assert.equal("0 2", told(newcomer))
    assert.is_nil(client:waitEnd())
    for generation = 3, 5 do
      reload(child)
      assert.equal("0 " .. generation, told(connect(port)))
    end
    stop(child)
    assert.is_true(support.isFree(port))
  end)

  it("loses nobody by a reload that fails, and no descriptor", function()
    local child, port, path = begin(WAITS)
    local client = connect(port)
    assert.equal("0 1", told(client))
    local before = support.descriptors(child)
    reloads.edit(child, WAITS .. "error 'no'")
    local newcomer = meanwhile(child, port, path)
    logged(child, "reload failed, the old policy goes on")
    assert.equal("1 1", told(newcomer))
    for _ = 1, 3 do fails(child) end
    assert.is_false(client.ended)
    newcomer:close()
    support.eventually(function()
      return support.descriptors(child) == before
    end)
    stop(child)
  end)

  it("listens where the one before does once, and not twice", function()
    local child, port = begin()
    local event = fails(child, SERVES .. [[
      assert(require "callosum.server".new { port = tonumber(host.args[1]) })
    ]])
    assert.matches("cannot listen on 127.0.0.1:" .. port .. ": address already "
      .. "in use %(EADDRINUSE%)", event.error)
    assert.matches("EADDRINUSE.*first reload it without that", fails(child,
      (SERVES:gsub("{ port", "{ host = '0.0.0.0', port"))).error)
    reload(child, "rover.new()")
    assert.is_true(support.isFree(port))
    reload(child, SERVES)
    assert.equal("0 3", told(connect(port)))
    stop(child)
  end)

  it("may take the port when it adopts a socket", function()
    local other = reloads.listen()
    local port = support.freePorts(1)
    local child = start([[
      local r = rover.new { servers = { s = at(2) } }
      local function serve()
        local s = assert(require "callosum.server".new { port = at(1).port })
        s:on("connection", function(conn)
          conn:write(host.generation .. "\r\n")
        end)
      end
      if host.generation == 1 then serve() end
      r:on("connection", function(_, socket)
        if socket.adopted then serve() end
        log "got"
      end)
      connect(r, 1)
    ]], port, other.port)
    logged(child, "got")
    reload(child)
    assert.equal("0 2", told(connect(port)))
    stop(child)
  end)

  it("can be checked while it runs, unseen by its clients", function()
    local child, port, path = begin(WAITS)
    local check = support.command { "check", child.path, tostring(port), path }
    assert.same({ 0, 0 }, { check:wait() }, check.output)
    assert.equal("0 1", told(connect(port)))
    stop(child)
  end)

  -- The page has the lines for luv's own.
  local function manual()
    local file <close> = assert(io.open "src/host/callosum-policy.5")
    for text in file:read "a":gmatch "\n%.Bd %-literal[^\n]*\n(.-)\n%.Ed" do
      if text:find "host%.inherit" then return (text:gsub("\\e", "\\")) end
    end
  end

  it("by luv as the manual shows goes on at its port as well", function()
    local script = [[
      local uv = require "luv"
      rover.new()
    ]] .. manual():gsub("4040", "tonumber(host.args[1])")
    assert.matches("host%.args", script)
    local child, port = begin(script)
    for _ = 1, 3 do
      assert.equal("hello", connect(port):line())
      reload(child)
    end
    local check = support.command { "check", child.path, tostring(port) }
    assert.same({ 0, 0 }, { check:wait() }, check.output)
    stop(child)
  end)

  it("by a pipe of luv's has its name over a reload", function()
    local path = support.tmpdir() .. "/socket"
    local child = start([[
      rover.new()
      local pipe, path = require "luv".new_pipe(false), host.args[1]
      assert(pipe:bind(path .. ".new"))
      pipe:listen(128, function() log "client" end)
      assert(os.rename(path .. ".new", path))
    ]], path)
    for i = 1, 3 do
      connect(path)
      logged(child, "client", i)
      reload(child)
    end
    stop(child)
  end)

  it("by UDP can go on at its port, too", function()
    local child, port = begin [[
      rover.new()
      local udp, port = require "luv".new_udp(), tonumber(host.args[1])
      local had = host.inherit(udp, "127.0.0.1", port)
      assert(had or udp:bind("127.0.0.1", port))
      udp:recv_start(function(_, data)
        if data then log(data, { had = had }) end
      end)
    ]]
    reload(child)
    local udp = require "luv".new_udp()
    udp:send("datagram", "127.0.0.1", port, function() udp:close() end)
    assert.is_true(logged(child, "datagram").had)
    stop(child)
  end)

  it("has nothing to inherit where nobody listened", function()
    local child, port = begin [[
      rover.new()
      local uv = require "luv"
      local tcp, port = uv.new_tcp(), tonumber(host.args[1])
      for address in ("127.0.0.1 ::1 fe80::1%nosuch localhost"):gmatch "%S+" do
        assert(host.inherit(tcp, address, port) == false)
        assert(host.inherit(tcp, address, 0) == false)
      end
      local function wrong(...)
        log(select(2, pcall(host.inherit, ...)))
      end
      wrong(uv.new_timer(), "127.0.0.1", port)
      wrong(tcp, nil, port)
      wrong(tcp, "127.0.0.1", 65536)
      host.on("unload", function()
        log("had", { had = host.inherit(tcp, "127.0.0.1", port) })
      end)
    ]]
    for i, message in ipairs {
      "uv_tcp or uv_udp expected, got uv_timer", "string expected, got nil",
      "port: integer from 0 to 65535 expected",
    } do
      logged(child, ("bad argument #%d to 'callosum.host.inherit' (%s)")
        :format(i, message))
    end
    reload(child, SERVES)
    assert.is_false(logged(child, "had").had)
    assert.equal("0 2", told(connect(port)))
    stop(child)
  end)
end)
