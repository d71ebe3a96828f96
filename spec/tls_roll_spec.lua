-- A fleet with mutual TLS, examples/tls.lua, whose certificates and CA are
-- replaced while it is used.

local certificates = require "support.certificates"
local process = require "support.process"
local support = require "support"
local uv = require "luv"

local fleet = certificates.fleet()

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

-- A machine, which has its files as a pod of Kubernetes has a secret: symbolic
-- links into a folder that is replaced as a whole.
local function machine()
  return { folder = support.tmpdir(), version = 0 }
end

local function deploy(self, ca, certificate)
  self.version = self.version + 1
  local name = ("%s/..v%d"):format(self.folder, self.version)
  assert(uv.fs_mkdir(name, tonumber("755", 8)))
  support.write(name .. "/ca.pem", ca)
  support.write(name .. "/one.pem", read(certificate.cert))
  support.write(name .. "/one.key", read(certificate.key))
  assert(uv.fs_symlink("..v" .. self.version, self.folder .. "/..tmp"))
  assert(uv.fs_rename(self.folder .. "/..tmp", self.folder .. "/..data"))
  if self.version > 1 then return end
  for _, file in ipairs { "ca.pem", "one.pem", "one.key" } do
    assert(uv.fs_symlink("..data/" .. file, self.folder .. "/" .. file))
  end
end

-- Its pool is filled at once, as clients come one upon the other.
local function run(self, ...)
  local text, count = read(support.ROOT .. "/examples/tls.lua")
    :gsub("maxSlots = 10", "maxSlots = 10, fillInterval = 5, maxInterval = 5")
  assert(count == 1)
  local args = { "run", "--watch", "--log-format", "json", "--budget", "20000",
    support.tmpfile(text), "one", ... }
  for i, arg in ipairs(args) do args[i] = tostring(arg) end
  self.child = support.command(args, { cwd = self.folder })
  support.logged(self.child, "policy loaded")
end

-- Clients that come and go, ask and get their answers.
local function load(port, count)
  local self = { done = 0 }
  local function client()
    local tcp, left, text = uv.new_tcp(), 5, ""
    local question = "question " .. self.done .. "\n"
    local function over(err)
      tcp:close()
      if self.ends then return end
      if err then self.failed = err else self.done = self.done + 1 end
      client()
    end
    tcp:connect("127.0.0.1", port, function(err)
      if err then return over(err) end
      tcp:write(question)
      tcp:read_start(function(broken, chunk)
        if tcp:is_closing() then return end
        if not chunk then return over(broken or "the end") end
        text = text .. chunk
        if #text < #question then return end
        if text ~= question then return over "another's answer" end
        left, text = left - 1, ""
        if left == 0 or self.ends then return over() end
        tcp:write(question)
      end)
    end)
  end
  for _ = 1, count do client() end
  return self
end

it("a CA and all certificates are replaced, and nobody notices", function()
  local echo = support.echo()
  local port, door = support.freePorts(2)
  local server, client = machine(), machine()
  local old, new = read(fleet.ca.file), read(fleet.otherCa.file)
  deploy(server, old, fleet.server)
  deploy(client, old, fleet.client)
  run(server, "front", port, echo)
  run(client, "relay", door, "localhost:" .. port)
  local clients = load(door, 4)

  local function goesOn()
    local till = clients.done + 40
    support.run(function() return clients.failed or clients.done >= till end)
    assert.is_nil(clients.failed)
  end

  goesOn()
  -- Each is seen to have been taken, and used, before the next.
  for _, step in ipairs {
    { server, old, fleet.rsaServer }, { client, old, fleet.rsaClient },
    { server, old .. new, fleet.rsaServer },
    { client, old .. new, fleet.rsaClient },
    { server, old .. new, fleet.strange },
    { client, old .. new, fleet.strangeClient },
    { server, new, fleet.strange }, { client, new, fleet.strangeClient },
  } do
    local which = step[1]
    deploy(which, step[2], step[3])
    support.logged(which.child, "policy reloaded", which.version - 1)
    goesOn()
  end

  -- Whoever is of the old CA stays outside now.
  local outsider = process.spawn("openssl", { "s_client", "-quiet", "-connect",
    "localhost:" .. port, "-cert", fleet.client.cert, "-key",
    fleet.client.key }, { env = { LD_PRELOAD = false } })
  outsider:waitFor "alert unknown ca"
  outsider:kill()
  outsider:wait()
  goesOn()

  clients.ends = true
  for _, each in ipairs { client, server } do
    local failures = support.events(each.child,
      "reload failed, the old policy goes on")
    assert.same({}, failures)
    for _, event in ipairs(support.events(each.child)) do
      assert.is_true(event.level ~= "error" and (event.level ~= "warn"
        or event.message:find "unknown CA" ~= nil
        or event.message:find "neither in" ~= nil), event.message)
    end
    each.child:kill()
    each.child:wait()
  end
end)
