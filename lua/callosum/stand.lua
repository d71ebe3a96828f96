-- The policy behind `callosum-rover front`: one front. Its arguments are the
-- options that were given, as NAME=VALUE and with the names of front.new(), and
-- the two addresses, each HOST:PORT, PORT or a path with a slash, or the first
-- fd:NAME.

local front = require "callosum.front"
local host = require "callosum.host"

local LISTS = { allow = true, trusted = true, tlsNames = true }
-- Errors that are a client's and not this machine's.
local CLIENTS = { EACCES = true, ECERT = true, EPROTO = true, ETIMEDOUT = true }
local TEXTS = { connectOn = true, mode = true, sendProxy = true,
  tlsCert = true, tlsKey = true, tlsCa = true, tlsCrl = true, tlsVerify = true,
  tlsMinVersion = true }

-- Wrong usage, not an error of this script: it needs no traceback.
local function fail(message, ...)
  host.log.error(message:format(...))
  host.stop(2)
end

local function address(text, listens)
  local fdName = listens and text:match "^fd:(.+)$"
  if fdName then return { fdName = fdName } end
  if text:find "/" then return { path = text } end
  local name, port = text:match "^%[(.*)%]:(%d+)$"
  if not name then name, port = text:match "^([^:]+):(%d+)$" end
  port = port or text:match "^%d+$"
  return port and { host = name, port = tonumber(port) }
end

local function add(options, name, value)
  if LISTS[name] then
    local list = options[name] or {}
    for each in value:gmatch "[^,%s]+" do list[#list + 1] = each end
    options[name] = list
  elseif TEXTS[name] then options[name] = value
  else options[name] = value == "true" or tonumber(value) end
end

-- Those that begin with "tls" are fields of `tls`.
local function nest(options)
  local tls
  for name, value in pairs(options) do
    local field = name:match "^tls(%u%w*)$"
    if field then
      tls = tls or {}
      tls[field:sub(1, 1):lower() .. field:sub(2)] = value
    end
  end
  for name in pairs(tls or {}) do
    options["tls" .. name:sub(1, 1):upper() .. name:sub(2)] = nil
  end
  options.tls = tls
end

local function parse(args)
  local options = {}
  for i = 1, #args - 2 do add(options, args[i]:match "^(%w+)=(.*)$") end
  nest(options)
  for i, name in ipairs { "listen", "backend" } do
    local text = args[#args - 2 + i]
    options[name] = address(text, name == "listen")
    if not options[name] then
      fail("%s is HOST:PORT, PORT or a path with a slash, not '%s'",
        name:upper(), text)
      return
    end
  end
  options.listen.mode, options.mode = options.mode, nil
  return options
end

-- Options as on the command line.
local function reworded(message)
  message = message:match "bad argument #1 to '[%w_.]+' %((.*)%)$" or message
  message = message:gsub("^listen: mode", "mode"):gsub("^tls: (%l)(%w*):",
    function(first, rest) return "tls" .. first:upper() .. rest .. ":" end)
    :gsub("give cert%f[%W]", "give --tls-cert")
    :gsub("acceptProxy", "--accept-proxy")
    :gsub("in 'allow' or, by their certificates, in 'tls', or "
      .. "'public = true'", "by --allow or --tls-ca, or give --public")
  return (message:gsub("^(%l+):", function(name)
    return (name == "listen" or name == "backend") and name:upper() .. ":"
  end):gsub("^%l%w*:", function(name)
    return "--" .. name:gsub("%u", function(letter)
      return "-" .. letter:lower()
    end)
  end))
end

local function start(options)
  local made, f = pcall(front.new, options)
  if not made then
    -- A broken certificate: if this is a reload, the front goes on as it was.
    if not f:find "^bad argument" then error(f, 0) end
    return fail("%s", reworded(f))
  end
  f:on("error", function(err)
    local log = CLIENTS[err.code] and host.log.warn or host.log.error
    log(err.message, { code = err.code })
  end)
  f:on("backend", function(up, err)
    local at = host.args[#host.args]
    if up then return host.log.info("the backend is up", { backend = at }) end
    host.log.warn("the backend is down", { backend = at,
      error = err.message:match "^the backend is down: (.*)$" or err.message })
  end)
end

local options = parse(host.args)
if options then start(options) end
