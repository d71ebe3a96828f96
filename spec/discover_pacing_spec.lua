-- How often sources ask that a server tells of changes, when it does not do as
-- it should, and when many of them ask the same server. Time is virtual, see
-- sources.virtual().

local sources = require "support.sources"

-- An HTTP server: `handler` is given each request's path, and a function that
-- answers it with a body and perhaps header lines; `requests` has the time of
-- each, in ms, and its path.
local SERVER = ([[
  local function print(...)
    local words = table.pack(...)
    for i = 1, words.n do words[i] = tostring(words[i]) end
    io.write(table.concat(words, " "), "\n")
  end
  local requests = {}
  local function serve(port, handler)
    local server = closing(uv.new_tcp())
    assert(server:bind("127.0.0.1", port))
    assert(server:listen(511, function()
      local peer, got = uv.new_tcp(), ""
      closing { close = function()
        if not peer:is_closing() then peer:close() end
      end }
      server:accept(peer)
      peer:read_start(function(_, bytes)
        if not bytes then return end
        got = got .. bytes
        local head, last = got:match "^(.-\r\n\r\n)()"
        local length = tonumber(head and head:match "Length: (%d+)" or 0)
        if not head or #got < last - 1 + length then return end
        got = got:sub(last + length)
        local path = head:match "^%u+ (%S+)"
        requests[#requests + 1] = { at = t(), path = path }
        handler(path, function(body, headers)
          peer:write("HTTP/1.1 200 OK\r\n" .. (headers or "")
            .. "Content-Length: " .. #body .. "\r\n\r\n" .. body)
        end, function(status)
          peer:write("HTTP/1.1 " .. status .. "\r\nContent-Length: 0\r\n\r\n")
        end, peer)
      end)
    end))
  end
  local function asked(pattern, from, to)
    local count = 0
    for _, each in ipairs(requests) do
      if each.path:find(pattern) and each.at >= from and each.at < to then
        count = count + 1
      end
    end
    return count
  end
  local errors = {}
  local function source(kind, options)
    local d = closing(discover[kind](options))
    d:on("error", function(err) errors[#errors + 1] = tostring(err) end)
    local r = closing(rover.new { name = options.name or "one" })
    d:attach(r)
    return d, r
  end
  local MINUTE, HOUR = 60e3, 3600e3
]]):gsub("\n%s*", " ")

local CONSUL = ([[
  local instances = {}
  local function instance(i)
    instances[#instances + 1] = '{"Node": {"Address": "10.0.0.' .. i
      .. '"}, "Service": {"Address": "", "Port": 80}}'
  end
  local index, waiting = 7, {}
  local function respond(answer)
    answer("[" .. table.concat(instances, ",") .. "]",
      "X-Consul-Index: " .. index .. "\r\n")
  end
]]):gsub("\n%s*", " ")

local KUBERNETES = ([[
  local function list(answer)
    answer('{"metadata": {"resourceVersion": "5"}, "items": [{"metadata":'
      .. '{"name": "a"}, "addressType": "IPv4", "ports": [{"port": 80}],'
      .. '"endpoints": [{"addresses": ["10.0.0.1"]}]}]}')
  end
]]):gsub("\n%s*", " ")

-- Of one key, /a, with the value 10.0.0.1:80.
local ETCD = ([[
  local function range(answer)
    answer '{"header": {"revision": "5"}, "kvs": [{"key": "L2E=",
      "value": "MTAuMC4wLjE6ODA="}]}'
  end
]]):gsub("\n%s*", " ")

local function virtual(script, expected)
  sources.virtual(SERVER .. script, expected)
end

describe("A source that asks a server of changes", function()
  it("does not ask Consul for ever through a proxy that ignores its index",
    function()
      virtual(CONSUL .. [[
        local blocks
        instance(1)
        serve(8500, function(path, answer)
          if blocks and path:find "index=7" then waiting[1] = answer
          else respond(answer) end
        end)
        local d, r = source("consul", { service = "web" })
        at(10e3, function()
          print(asked("index", 0, 10e3) < 10, #errors > 0, d:stats().stale,
            d:stats().servers)
          print(errors[1]:match "consul web: (.*), %d times")
        end)
        at(HOUR, function()
          local n = asked("", HOUR - 10 * MINUTE, HOUR)
          print(n >= 8 and n <= 20 or n, ids(r))
          errors = {}
          blocks = true
        end)
        at(HOUR + 10 * MINUTE, function()
          print(d:stats().stale, #errors <= 1)
          instance(2)
          index = 8
          respond(waiting[1])
        end)
        at(HOUR + 10 * MINUTE + 1000, function() print(ids(r)) end)
        finish(HOUR + 11 * MINUTE)
      ]], [[
        true true false 1
        queries that are to wait for a change are answered at once without]]
          .. [[ one: a proxy seems to ignore 'index'
        true 10.0.0.1:80
        false true
        10.0.0.1:80 10.0.0.2:80
      ]])
    end)

  it("asks Consul less often if its index climbs without a change", function()
    virtual(CONSUL .. [[
      instance(1)
      instance(2)
      serve(8500, function(_, answer)
        index = index + 1
        instances[1], instances[2] = instances[2], instances[1]
        respond(answer)
      end)
      source("consul", { service = "web" })
      at(HOUR, function()
        print(asked("", 0, HOUR) < 120, #errors > 0)
      end)
      finish(HOUR)
    ]], "true true")
  end)

  it("follows a service of Consul that changes all the time", function()
    virtual(CONSUL .. [[
      serve(8500, function(path, answer)
        index = index + 1
        instance(index)
        if path:find "index" then at(300, function() respond(answer) end)
        else respond(answer) end
      end)
      local d = source("consul", { service = "web" })
      at(MINUTE, function()
        print(d:stats().servers > 150, d:stats().stale, #errors)
      end)
      finish(MINUTE)
    ]], "true false 0")
  end)

  for name, ends in pairs {
    ["at whose every watch the version is gone"] =
      [[answer '{"type": "ERROR", "object": {"code": 410}}']],
    ["that answers 410 to every watch"] = [[refuse "410 Gone"]],
    ["that ends every watch at once"] = [[answer ""]],
    ["that refuses every watch"] = [[refuse "500 No"]],
    ["at which every watch breaks"] = [[peer:close_reset()]],
  } do
    it("does not ask for ever a Kubernetes " .. name, function()
      -- If a kept connection breaks, libcurl may ask again once, over another.
      local most = ends:find "close_reset" and 48 or 24
      virtual(KUBERNETES .. ([[
        serve(8001, function(path, answer, refuse, peer)
          if path:find "watch" then (ENDS) else list(answer) end
        end)
        local d, r = source("kubernetes", { service = "web",
          url = "http://127.0.0.1:8001" })
        local n
        at(10 * MINUTE, function()
          print(asked("watch", 0, 10 * MINUTE) < MOST, #errors > 0)
        end)
        at(HOUR, function()
          n = asked("watch", HOUR - 10 * MINUTE, HOUR)
          print(n >= 8 and n <= MOST or n, #errors > 0, ids(r))
        end)
        finish(HOUR)
      ]]):gsub("%(ENDS%)", ends):gsub("MOST", most), [[
        true true
        true true 10.0.0.1:80
      ]])
    end)
  end

  for name, ends in pairs {
    ["compacts at once what was read"] =
      [[answer '{"result": {"canceled": true, "compact_revision": "9"}}']],
    ["ends every watch at once"] = [[answer ""]],
    ["refuses every watch"] = [[refuse "500 No"]],
  } do
    it("does not ask for ever an etcd that " .. name, function()
      virtual(ETCD .. ([[
        serve(2379, function(path, answer, refuse)
          if path:find "watch" then (ENDS) else range(answer) end
        end)
        local d, r = source("etcd", { prefix = "/", interval = 24 * HOUR })
        at(HOUR, function()
          local n = asked("watch", HOUR - 10 * MINUTE, HOUR)
          print(asked("watch", 0, 10 * MINUTE) < 24, n >= 8 and n <= 14 or n,
            #errors > 0, ids(r))
        end)
        finish(HOUR)
      ]]):gsub("%(ENDS%)", ends), "true true true 10.0.0.1:80")
    end)
  end

  it("reads etcd at a moment of its own after a compaction", function()
    virtual(ETCD .. [[
      local watches = {}
      serve(2379, function(path, answer)
        if path:find "watch" then watches[#watches + 1] = answer
        else range(answer) end
      end)
      for i = 1, 50 do
        source("etcd", { prefix = "/", name = "e" .. i, interval = HOUR })
      end
      at(20e3, function()
        for _, answer in ipairs(watches) do
          answer '{"result": {"canceled": true, "compact_revision": "9"}}'
        end
      end)
      at(22e3, function()
        local most = 0
        for ms = 20e3, 22e3, 100 do
          most = math.max(most, asked("range", ms, ms + 100))
        end
        print(#watches, asked("range", 20e3, 22e3), most < 20, #errors)
      end)
      finish(30e3)
    ]], "100 50 true 0")
  end)
end)
