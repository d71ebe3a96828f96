-- PostgreSQL for specs: `require "support.postgres"`. Each server ends with its
-- test, and so do its data.

local assert = require "luassert"
local command = require "support.command"
local files = require "support.files"
local real = require "support.real"
local uv = require "luv"

local postgres = {}

local made -- the data that all others are copies of

-- Makes it when it is first asked for; it goes when the spec file ends.
local function template()
  if made then return made end
  local folder = assert(uv.fs_mkdtemp(uv.os_tmpdir() .. "/callosum.XXXXXX"))
  package.loaded.busted.subscribe({ "file", "end" }, function()
    if made then files.remove(folder) end
    made = nil
    return nil, true
  end)
  if uv.getuid() == 0 then real.runs("chown", { "nobody", folder }) end
  local secret = files.write(folder .. "/secret", "secret\n")
  real.runsAsNobody(real.find("initdb", "postgresql"), { "-D",
    folder .. "/data", "-A", "scram-sha-256", "--pwfile", secret, "-U", "app",
    "--no-sync", "--no-instructions", "--locale", "C", "-E", "UTF8" })
  made = folder .. "/data"
  return made
end

--- Makes the data of servers, for the superuser "app" with the password
--- "secret".
-- @param count how many, all the same
-- @return their folders
function postgres.clusters(count)
  local folders = {}
  for i = 1, count do
    folders[i] = real.dir() .. "/data"
    real.runsAsNobody("cp", { "-a", template(), folders[i] })
  end
  return table.unpack(folders)
end

--- Starts a server.
-- @param data its folder
-- @param settings nil or an array, as "max_connections=10"
-- @param ready nil or what it logs once it is so far
-- @return the child, with its `port`
function postgres.start(data, settings, ready)
  local port = command.freePorts(1)
  local args = { "-D", data, "-p", port, "-k", data,
    "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off" }
  for _, each in ipairs(settings or {}) do
    args[#args + 1] = "-c"
    args[#args + 1] = each
  end
  local child = real.serve(real.find("postgres", "postgresql"), args, "INT")
  child.port = port
  child:waitFor(ready or "ready to accept connections", 30)
  return child
end

--- The environment of its clients.
-- @param port of whom they connect to
function postgres.env(port)
  return { PGHOST = "127.0.0.1", PGPORT = tostring(port), PGUSER = "app",
    PGPASSWORD = "secret", PGDATABASE = "postgres" }
end

--- Starts psql, without its headings.
-- @param port as of `env`
-- @param ... its arguments
-- @return the child
function postgres.psql(port, ...)
  return real.starts(real.find("psql", "postgresql-client"),
    { "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", ... },
    { env = postgres.env(port) })
end

--- Runs a query, which must succeed.
-- @return what it has brought, without the last end of line
function postgres.query(port, sql)
  local child = postgres.psql(port, "-c", sql)
  local code = child:wait(60)
  if code ~= 0 then error(child.output, 2) end
  return (child.stdout:gsub("\n$", ""))
end

return postgres
