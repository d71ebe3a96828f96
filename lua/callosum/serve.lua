-- The script behind `callosum-rover serve`: Callosum servers to try policies
-- against, which echo what clients send. Its arguments are the host, the
-- weight, the numbers of the signals that the command inherited as ignored, the
-- ports, and optionally "--" and a command, which is started once all servers
-- listen, and with which they end.

local host = require "callosum.host"
local server = require "callosum.server"
local uv = require "luv"

-- How many bytes a client may leave unread, and how many KiB of memory all may
-- occupy. This is far below the limit at which this script gets no more memory,
-- and a stream would go on with bytes missing.
local UNREAD, ALL_UNREAD = 16 * 1024 * 1024, 64 * 1024

-- Connections that were closed for that, and whose memory is not free yet.
local leaving = 0

local servers = {}

local function closeServers()
  for _, s in ipairs(servers) do s:close() end
end

-- Marks errors that are not this script's fault, and need no traceback.
local Failure = {}

local function fail(message, ...)
  error(setmetatable({ message = message:format(...) }, Failure))
end

-- Splits the arguments into the address, the ports, the command and the ignored
-- signals.
local function parse(args)
  local ports, at = {}, 4
  while args[at] and args[at] ~= "--" do
    local port = args[at]:match("^%d+$") and #args[at] <= 5
      and math.tointeger(args[at])
    if not port or port > 65535 then
      fail("%q is not a port: give an integer from 0 to 65535", args[at])
    end
    ports[#ports + 1] = port
    at = at + 1
  end
  local address = args[1]
  if not address or address == "" then fail("the host is empty") end
  if #ports == 0 then fail("no port to listen on: give one or more") end
  local weight = tonumber(args[2])
  if not args[at] then return address, weight, ports end
  if not args[at + 1] then fail('no command follows "--"') end
  return address, weight, ports, { table.unpack(args, at + 1) }, args[3]
end

-- Whether the client has left too much unread.
local function hoards(conn)
  local unread = uv.stream_get_write_queue_size(conn.handle)
  if unread == 0 or unread > UNREAD then return unread > 0 end
  if leaving > 0 or collectgarbage "count" < ALL_UNREAD then return false end
  collectgarbage()
  return collectgarbage "count" >= ALL_UNREAD
end

local function serve(address, weight, port)
  local s, message = server.new { host = address, weight = weight,
    port = port }
  if not s then fail("%s", message) end
  servers[#servers + 1] = s
  address, port = s:address()
  s:on("connection", function(conn, slot)
    host.log.debug("connection", { port = port, slot = slot })
    conn:on("data", function(chunk)
      local written = pcall(conn.write, conn, chunk)
      if not written or hoards(conn) then
        host.log.warn("closing a connection whose client sends and does not "
          .. "read", { port = port, slot = slot })
        leaving = leaving + 1
        conn:on("close", function() leaving = leaving - 1 end)
        conn:close()
      end
    end)
    conn:on("close", function(err)
      local fields = { port = port, slot = slot }
      fields.error = err and tostring(err)
      host.log.debug("closed", fields)
    end)
  end)
  s:on("error", function(err)
    host.log.error(tostring(err), { port = port, code = err.code })
  end)
  host.log.info("listening", { host = address, port = port })
end

-- Runs the command on our own standard streams. Its exit status becomes ours;
-- if a signal ended it, 128 and that, as in a shell. The servers live as long
-- as it does, so it decides about signals: a terminal sends it SIGINT itself,
-- and SIGTERM and SIGHUP are passed on. Signals that we inherited as ignored,
-- as by nohup, the command ignores too, though libuv resets them in children.
local function run(command, ignored)
  local name = command[1]
  if ignored ~= "" then
    command = { "sh", "-c", ([[trap '' %s; exec "$@"]]):format(ignored), "sh",
      table.unpack(command) }
  end
  local process
  local function exited(code, signal)
    process:close()
    process = nil
    if signal ~= 0 then
      host.log.warn("command killed", { command = name, signal = signal })
      code = 128 + signal
    end
    closeServers()
    host.stop(code)
  end
  local function passOn() if process then process:kill("sigterm") end end
  uv.new_signal():start("sigint", function() end)
  uv.new_signal():start("sigterm", passOn)
  if not ignored:find "^1%f[%D]" then
    uv.new_signal():start("sighup", passOn)
  end
  host.on("unload", passOn)

  local message, code
  process, message, code = uv.spawn(command[1], {
    args = { table.unpack(command, 2) },
    stdio = { 0, 1, 2 },
  }, exited)
  if process then
    host.log.info("running the command; the servers echo, and forward nothing "
      .. "to it", { command = name })
  else
    fail("cannot start %s: %s (%s)", name, message:match(": (.*)"), code)
  end
end

local function main()
  local address, weight, ports, command, ignored = parse(host.args)
  for _, port in ipairs(ports) do serve(address, weight, port) end
  if command then run(command, ignored) end
end

local ok, err = pcall(main)
if not ok then
  if getmetatable(err) ~= Failure then error(err, 0) end
  closeServers()
  host.log.error(err.message)
  host.stop(1)
end
