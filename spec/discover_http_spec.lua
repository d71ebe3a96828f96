local discover = require "callosum.discover"
local lookups = require "support.lookups"
local support = require "support"
local uv = require "luv"
local web = require "support.web"

local PART = "HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n["
local JSON = '[{"targets": ["10.0.0.1:80", "10.0.0.2:80"]}]'

describe("A source of HTTP", function()
  local requests

  before_each(function() requests = {} end)

  -- Answers each request by what the function says, and keeps it.
  local function serve(answer, path)
    return web.serve(function(request)
      requests[#requests + 1] = request
      answer(request, #requests)
    end, path)
  end

  -- Has all threads of libuv wait for the writer of a pipe. Returns a function
  -- that is one, and runs the loop until they have gone on.
  local function hangThreads()
    local pipe = support.tmpdir() .. "/pipe"
    assert(os.execute("mkfifo " .. pipe))
    local waiting = 4 -- as many as there are
    for _ = 1, waiting do
      uv.fs_open(pipe, "r", 0, function(_, fd)
        uv.fs_close(fd)
        waiting = waiting - 1
      end)
    end
    return function()
      local writer = io.open(pipe, "r+")
      support.run(function() return waiting == 0 end)
      writer:close()
    end
  end

  -- Runs the loop until there were so many, and returns the last of them.
  local function asked(count)
    support.run(function() return #requests >= count end)
    return requests[count]
  end

  it("takes JSON of Prometheus' http_sd, or a line a server", function()
    local server = serve(function(request)
      request:answer(200, request.path == "/json" and JSON
        or "# ours\n10.0.0.3:80 2\n10.0.0.4\n")
    end)
    lookups.source("http", { url = server.url .. "/json" })
      :has("10.0.0.1:80", "10.0.0.2:80")
    lookups.source("http", { name = "other", url = server.url .. "/plain?x=1",
      port = 4040 }):has("10.0.0.3:80/2", "10.0.0.4:4040")
    local plain = {}
    for _, each in ipairs(requests) do
      if each.path == "/plain?x=1" then plain[#plain + 1] = each.method end
    end
    assert.equal("GET", plain[1])
  end)

  it("has a list sent again only when it is another", function()
    local list, tag = JSON, '"one"'
    local server = serve(function(request)
      if request.headers["if-none-match"] == tag then
        request:answer(304, "", { ETag = tag })
      else
        request:answer(200, list, { ETag = tag })
      end
    end)
    local each = lookups.source("http", { url = server.url, interval = 20 })
    each:has("10.0.0.1:80", "10.0.0.2:80"):settles(3)
    assert.is_nil(requests[1].headers["if-none-match"])
    assert.equal('"one"', requests[3].headers["if-none-match"])
    list, tag = "10.0.0.2:80", '"two"'
    each:has "10.0.0.2:80"
  end)

  it("asks, though its cache cannot be read in time", function()
    local server = serve(function(request) request:answer(200, JSON) end)
    local goOn = hangThreads()
    local each = lookups.source("http", { url = server.url, timeout = 50,
      cache = support.tmpdir() .. "/cache" })
    local ok, err = pcall(asked, 1)
    goOn()
    assert(ok, err)
    each:fails "cannot read its cache: no answer within 50 ms"
    each:has("10.0.0.1:80", "10.0.0.2:80")
  end)

  it("has a list that it doubts sent again as a whole", function()
    local list = JSON
    local server = serve(function(request, count)
      if count > 1 then list = "10.0.0.9:80" end
      if request.headers["if-none-match"] == "W/" .. #list then
        return request:answer(304, "")
      end
      request:answer(200, list, { ETag = "W/" .. #list })
    end)
    local each = lookups.source("http", { url = server.url, interval = 20 })
    each:has("10.0.0.1:80", "10.0.0.2:80"):fails "2 of its 2 servers are gone"
    each:has "10.0.0.9:80"
    assert.equal(2, each.source:stats().doubted)
    assert.is_nil(requests[3].headers["if-none-match"])
  end)

  it("asks at a Unix socket", function()
    local path = support.tmpdir() .. "/socket"
    serve(function(request) request:answer(200, JSON) end, path)
    lookups.source("http", { url = "http://localhost/list", path = path })
      :has("10.0.0.1:80", "10.0.0.2:80")
    assert.equal("/list", requests[1].path)
  end)

  it("sends headers, and a token that it reads anew each time", function()
    local path = support.tmpfile("first\n", "token")
    local server = serve(function(request) request:answer(200, JSON) end)
    local each = lookups.source("http", { url = server.url, tokenFile = path,
      interval = 20, headers = { ["X-One"] = "a b", ["X-Two"] = "c" } })
    local headers = asked(1).headers
    assert.equal("a b", headers["x-one"])
    assert.equal("c", headers["x-two"])
    assert.equal("Bearer first", headers.authorization)
    support.write(path, "second")
    support.run(function()
      return requests[#requests].headers.authorization == "Bearer second"
    end)
    support.write(path, "")
    each:fails "tokenFile .*/token: it is empty"
    support.write(path, "two words")
    each:fails "tokenFile .*: a file with a token, on one line, expected"
    assert.same({ "10.0.0.1:80", "10.0.0.2:80" }, each:list())
  end)

  it("keeps its list through every bad answer", function()
    local bad = {
      { "HTTP 500: oh dear", function(r) r:answer(500, "oh\ndear\n") end },
      { "HTTP 403 %(see headers, tokenFile or tls%)",
        function(r) r:answer(403, "") end },
      { "HTTP 302: redirects are not followed.*; ask 'http://x%.test/'",
        function(r) r:answer(302, "", { Location = "http://x.test/" }) end },
      { "line 1: 'host:port' expected", function(r) r:answer(200, "[") end },
      { "empty", function(r) r:answer(200, "") end },
      { "empty", function(r) r:answer(200, "[]") end },
      { "ECONNRESET", function(r) r.peer:close() end },
      { "ECONNRESET", function(r)
        r.peer:write(PART, function() r.peer:close() end)
      end },
      { "ETIMEDOUT", function() end },
      { "ETIMEDOUT", function(r)
        r.peer:write(PART)
      end },
      { "larger than 33554432 bytes", function(r)
        r:stream()
        local bytes = ("x"):rep(1 << 20)
        local function more()
          r.peer:write(("%x\r\n%s\r\n"):format(#bytes, bytes), more)
        end
        more()
      end },
      { "EPROTO", function(r) r.peer:write "SSH-2.0-x\r\n\r\n" end },
    }
    local all = {}
    local server = serve(function(request)
      local i = math.tointeger(request.path:match "%d+")
      if all[i].is_bad then return bad[i][2](request) end
      request:answer(200, JSON)
    end)
    for i, each in ipairs(bad) do
      all[i] = lookups.source("http", { name = each[1] .. i, interval = 20,
        url = server.url .. "/" .. i,
        timeout = each[1] == "ETIMEDOUT" and 500 or 20000 })
    end
    for _, each in ipairs(all) do each:has("10.0.0.1:80", "10.0.0.2:80") end
    for i, each in ipairs(all) do
      each.is_bad = true
      local found
      support.eventually(function()
        for _, err in ipairs(each.errors) do
          for pattern in bad[i][1]:gmatch "[^|]+" do
            found = found or tostring(err):find(pattern)
              or err.code == pattern
          end
        end
        return found or #each.errors > 2
      end)
      assert(found, bad[i][1] .. ": " .. tostring(each.errors[1]))
      assert.same({ "10.0.0.1:80", "10.0.0.2:80" }, each:list())
    end
  end)

  -- One thread, which opens a pipe that nobody writes to.
  it("keeps no answers that nobody reads while all threads hang", function()
    local large = "[" .. (" "):rep(16 << 20) .. "]"
    local server = serve(function(request) request:answer(200, large) end)
    local pipe = support.tmpdir() .. "/pipe"
    assert(os.execute("mkfifo " .. pipe))
    local child = support.policy([[
      local host = require "callosum.host"
      local uv = require "luv"
      uv.fs_open(host.args[2], "r", 0, function() end)
      local d = require "callosum.discover".http { url = host.args[1],
        interval = 3600000, timeout = 500 }
      d:on("error", function(err)
        host.log.info("failed", { err = tostring(err),
          memory = uv.resident_set_memory() >> 20 })
      end)
      d:attach(require "callosum.rover".new())
    ]], { args = { server.url, pipe }, env = { UV_THREADPOOL_SIZE = "1" } })
    local first = support.logged(child, "failed", 1)
    -- The latter if a busy machine has not begun to answer.
    assert.is_truthy(first.err:find "no answer within 500 ms"
      or first.err:find "timed out after %d+ milliseconds", first.err)
    -- 10 MB and two answers, the one that is read and the last; not a third.
    local memory = support.logged(child, "failed", 3).memory
    assert.is_true(support.WATCHED or memory < 52, memory)
    io.open(pipe, "w"):close()
    support.stop(child)
  end)

  it("receives many bytes in a thread, and may end meanwhile", function()
    local large = "[" .. (" "):rep(16 << 20) .. "]"
    local server = serve(function(request) request:answer(200, large) end)
    local function unsent(request)
      return request.peer.handle:get_write_queue_size()
    end
    local goOn = hangThreads()
    local each = lookups.source("http", { url = server.url, timeout = 60000 })
    local request = asked(1)
    local received = pcall(support.run, function()
      return unsent(request) == 0
    end, 0.3)
    each.source:close()
    local ended = pcall(support.run, function() return request.peer.closed end)
    goOn()
    assert.is_false(received)
    assert.is_true(ended)
  end)

  it("shows no secret of a URL", function()
    local server = serve(function(request)
      request:answer(302, "",
        { Location = "http://me:SECRET@x.test/b?token=SECRET" })
    end)
    local each = lookups.source("http", { url = server.url
      .. "/list?token=SECRET" })
    local err = each:fails "ask 'http://x%.test/b' itself"
    assert.matches("^http http://127%.0%.0%.1:%d+/list: no list: ", err.message)
    assert.is_nil(tostring(err):find "SECRET")
    assert.matches("/list%)$", tostring(each.source))
    assert.equal("/list?token=SECRET", requests[1].path)
    for _, url in ipairs { "ftp://a/b?token=SECRET", "ftp://me:SECRET@a/b" } do
      support.misuse(function()
        discover.http { url = url }
      end, "bad argument #1 to 'http' (url: http:// or https:// expected, "
        .. "got 'ftp://a/b')")
    end
  end)

  it("says what cannot be reached", function()
    local url = ("http://127.0.0.1:%d/a?b=c"):format(support.closedPort())
    local err = lookups.source("http", { url = url })
      :fails "http://127%.0%.0%.1:%d+/a: "
    assert.equal("ECONNREFUSED", err.code)
    lookups.source("http", { name = "name", url = "http://gone.invalid/" })
      :fails "addresses of gone%.invalid: "
  end)

  it("verifies a server, and shows it a certificate", function()
    local paths = web.certificates()
    local port = support.freePorts(1)
    web.nginx(port, paths, "10.0.0.1:80")
    local url = ("https://localhost:%d/"):format(port)
    local byAddress = ("https://127.0.0.1:%d/"):format(port)
    local function ask(name, where, tls)
      return lookups.source("http", { name = name, url = where, tls = tls })
    end
    ask("both", url, { ca = paths.ca, cert = paths.clientCert,
      key = paths.clientKey }):has "10.0.0.1:80"
    ask("name", byAddress, { ca = paths.ca, cert = paths.clientCert,
      key = paths.clientKey, serverName = "localhost" }):has "10.0.0.1:80"
    ask("no ca", url):fails "certificate"
    ask("other name", byAddress, { ca = paths.ca }):fails "127%.0%.0%.1"
    ask("no cert", url, { ca = paths.ca }):fails "HTTP 400"
    ask("no file", url, { ca = paths.ca .. "x" })
      :fails "certificate file: .*/ca%.pemx"
  end)

  it("reads the CAs and its certificate anew for a new connection", function()
    local paths, port = web.certificates(), support.freePorts(1)
    local server = web.nginx(port, paths, "10.0.0.1:80")
    local source = lookups.source("http", {
      url = ("https://localhost:%d/"):format(port),
      tls = { ca = paths.ca, cert = paths.clientCert, key = paths.clientKey },
    }):has "10.0.0.1:80"
    support.stop(server)
    local others = web.certificates()
    for _, name in ipairs { "ca", "clientCert", "clientKey" } do
      local file <close> = assert(io.open(others[name]))
      support.write(paths[name], file:read "a")
    end
    web.nginx(port, others, "10.0.0.2:80")
    source:has "10.0.0.2:80"
  end)

  it("is refused in the sandbox, unless that is permitted", function()
    local dir = support.tmpdir()
    local function check(call, option)
      local path = support.write(dir .. "/policy.lua", ([[
        require "callosum.rover".new()
        require "callosum.discover".%s
      ]]):format(call))
      local args = { "check", "--sandbox", path }
      if option then table.insert(args, 2, option) end
      local child = support.command(args)
      return child:wait(), child.output
    end
    for kind, options in pairs { http = "url = 'http://a'",
        consul = "service = 'a'", etcd = "prefix = 'a'",
        kubernetes = "service = 'a'" } do
      local call = ("%s { %s }"):format(kind, options)
      local code, output = check(call)
      assert.equal(1, code)
      assert.matches("discover%." .. kind .. " speaks HTTP, which is not "
        .. "allowed in the sandbox", output)
      assert.equal(0, (check(call, "--allow-http")))
      for _, own in ipairs { "path = '/etc/a'", "tokenFile = '/etc/a'",
          "tls = { ca = '/etc/a' }", "tls = { key = '/etc/a' }" } do
        code, output = check(("%s { %s, %s }"):format(kind, options, own),
          "--allow-http")
        assert.equal(1, code)
        assert.matches("in the sandbox, a path in the script's folder", output)
      end
    end
    assert.equal(0, (check "dns { host = 'a', port = 1 }"))
  end)

  it("refuses what is no URL, where it is declared", function()
    for _, url in ipairs { "ftp://a", "http://", "http:///a", "http://a b" } do
      support.misuse(function()
        discover.http { url = url }
      end, ("bad argument #1 to 'http' (url: http:// or https:// expected, "
        .. "got '%s')"):format(url))
    end
    support.misuse(function()
      discover.http { url = "http://me:secret@127.0.0.1/" }
    end, "bad argument #1 to 'http' (url: a user and a password do not belong "
      .. "there, since URLs are logged; see headers and tokenFile)")
  end)
end)
