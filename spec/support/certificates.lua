--- Certificates for specs and benchmarks, made by openssl(1) when they are
-- first asked for, in a temporary folder that goes when the spec file ends.
--
--   local fleet = require("support.certificates").fleet()
--   front.new { ..., tls = { cert = fleet.server.cert, key = fleet.server.key,
--     ca = fleet.ca.file } }
--
-- One of them is { cert =, key =, both = }, paths of PEM files: the
-- certificate with what leads to its CA, its key, and the two in one file as
-- HAProxy and stunnel want them. Keys are P-256 unless said otherwise.
--
-- Servers: server (localhost, 127.0.0.1, ::1), rsaServer, chained (by an
-- intermediate CA), wrongName, commonNameOnly, expired, notYet, soon (expires
-- in five days), strange (by a CA that nobody trusts), revoked, wrongPurpose
-- (of a client). Clients: client (client.fleet.example), rsaClient,
-- chainedClient, wrongClient (stranger.example), uriClient
-- (spiffe://fleet.example/client), addressClient (127.0.0.1), namelessClient,
-- expiredClient, strangeClient, revokedClient, serverAsClient. CAs, each with
-- a `file`: ca, intermediate, otherCa. Revocation lists of `ca`: crl,
-- expiredCrl, emptyCrl; of `intermediate`: intermediateCrl. Any other is made
-- by `issue`.

local files = require "support.files"
local uv = require "luv"

local certificates = {}

local DAY = 24 * 3600

-- What `openssl ca` wants to know of a CA.
local CONFIGURATION = [[
[ca]
default_ca = this
[this]
database = %s/index.txt
new_certs_dir = %s
crlnumber = %s/crlnumber
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
email_in_dn = no
[any]
commonName = optional
[req]
distinguished_name = nothing
prompt = no
[nothing]
]]

local KEYS = {
  ec = "-newkey ec -pkeyopt ec_paramgen_curve:P-256",
  rsa = "-newkey rsa:2048",
}

local PURPOSES = {
  server = "extendedKeyUsage = serverAuth\n",
  client = "extendedKeyUsage = clientAuth\n",
  both = "extendedKeyUsage = serverAuth, clientAuth\n",
}

-- Runs it without what sanitizers preload; its output is for when it fails.
local function openssl(...)
  local command = "LD_PRELOAD= exec openssl " .. string.format(...)
  local pipe = assert(io.popen(command .. " </dev/null 2>&1"))
  local output = pipe:read "a"
  if not pipe:close() then error(command .. "\n" .. output, 2) end
end

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

-- Days from now, as openssl writes it.
local function date(days)
  return os.date("!%Y%m%d%H%M%SZ", math.floor(os.time() + days * DAY))
end

-- As an alternative name: "DNS:localhost".
local function alternative(name)
  local kind = name:find("://", 1, true) and "URI"
    or (name:find "^[%d.]+$" or name:find(":", 1, true)) and "IP" or "DNS"
  return kind .. ":" .. name
end

local function extensions(options)
  local text = options.authority
    and "basicConstraints = critical, CA:TRUE\n"
      .. "keyUsage = critical, keyCertSign, cRLSign\n"
    or "basicConstraints = critical, CA:FALSE\n"
      .. "keyUsage = critical, digitalSignature\n"
      .. (PURPOSES[options.purpose or "both"] or "")
  local names = {}
  for i, name in ipairs(options.names or {}) do names[i] = alternative(name) end
  if #names > 0 then
    text = text .. "subjectAltName = " .. table.concat(names, ", ") .. "\n"
  end
  return "subjectKeyIdentifier = hash\n" .. text
    .. (options.selfSigned and "" or "authorityKeyIdentifier = keyid\n")
end

local function join(path, ...)
  local parts = {}
  for i, part in ipairs { ... } do parts[i] = read(part) end
  return files.write(path, table.concat(parts))
end

local authority = {}
authority.__index = authority

--- Makes a certificate.
-- @param options `name`, of its files and, unless `commonName` is given, its
--   common name; `names`, an array of alternative names: DNS names, IP
--   addresses, URIs; `purpose`, "server", "client", "both" (by default), or
--   "none"; `starts` and `ends`, in days from now (-1, 365); `key`, "ec" (by
--   default), or "rsa"; `authority`, true for a CA
-- @return { cert =, key =, both = }; a CA, with `file`, if that was asked for
function authority:issue(options)
  local base = self.folder .. "/" .. options.name
  local request, leaf = base .. ".csr", base .. ".leaf"
  local made = { cert = base .. ".crt", key = base .. ".key",
    both = base .. ".pem", leaf = leaf }
  if options.authority then setmetatable(made, authority) end
  files.write(base .. ".ext", extensions(options))
  openssl("req -new -nodes -batch -config %s %s -keyout %s -out %s "
    .. "-subj '/CN=%s'", self.configuration, KEYS[options.key or "ec"],
    made.key, request, options.commonName or options.name)
  openssl("ca -batch -notext -config %s %s -in %s -out %s -extfile %s "
    .. "-startdate %s -enddate %s", self.configuration,
    options.selfSigned and "-selfsign -keyfile " .. made.key
      or ("-cert %s -keyfile %s"):format(self.file, self.key),
    request, leaf, base .. ".ext", date(options.starts or -1),
    date(options.ends or 365))
  -- A root is known to whoever trusts it; what is below it is sent along.
  if self.cert and not self.isRoot then join(made.cert, leaf, self.cert)
  else join(made.cert, leaf) end
  join(made.both, made.cert, made.key)
  return made
end

-- The files of `openssl ca`, for one that is being made.
local function prepare(self, folder, name)
  self.folder = folder
  self.configuration = folder .. "/" .. name .. ".cnf"
  local database = folder .. "/" .. name
  assert(uv.fs_mkdir(database, tonumber("700", 8)))
  files.write(database .. "/index.txt", "")
  files.write(database .. "/crlnumber", "01\n")
  files.write(self.configuration,
    CONFIGURATION:format(database, database, database))
  return self
end

--- Makes a CA below this one.
-- @param options as of `issue`
-- @return it; `file` has its certificate alone
function authority:intermediate(options)
  options.authority = true
  local made = prepare(self:issue(options), self.folder, options.name)
  made.file = made.leaf
  return made
end

--- Revokes a certificate, in the lists made from now on.
-- @param certificate what `issue` returned
function authority:revoke(certificate)
  openssl("ca -config %s -cert %s -keyfile %s -revoke %s", self.configuration,
    self.file, self.key, certificate.leaf)
end

--- Makes a revocation list of what was revoked so far.
-- @param name of its file
-- @param ends nil, or the day from now on which the next is due (30)
-- @return its path
function authority:crl(name, ends)
  local path = self.folder .. "/" .. name .. ".crl"
  openssl("ca -gencrl -config %s -cert %s -keyfile %s -out %s "
    .. "-crl_lastupdate %s -crl_nextupdate %s", self.configuration, self.file,
    self.key, path, date(math.min(-1, (ends or 30) - 1)), date(ends or 30))
  return path
end

--- Makes a CA of its own.
-- @param folder where its files go
-- @param options as of `issue`
-- @return it; `file` is its certificate
function certificates.authority(folder, options)
  local maker = prepare(setmetatable({}, authority), folder, options.name)
  options.authority, options.selfSigned = true, true
  local made = maker:issue(options)
  made.folder, made.configuration = folder, maker.configuration
  made.file, made.isRoot = made.cert, true
  return made
end

local HERE = { "localhost", "127.0.0.1", "::1" }
local THERE = { "client.fleet.example" }

-- How each is made that a fleet has, by which CA; or a function that makes it.
local KINDS = {
  server = { names = HERE }, rsaServer = { names = HERE, key = "rsa" },
  chained = { by = "intermediate", names = HERE },
  wrongName = { names = { "other.fleet.example", "192.0.2.1" } },
  commonNameOnly = { commonName = "localhost" },
  expired = { names = HERE, starts = -20, ends = -1 },
  notYet = { names = HERE, starts = 1 }, soon = { names = HERE, ends = 5 },
  strange = { by = "otherCa", names = HERE },
  revoked = { names = HERE },
  wrongPurpose = { names = HERE, purpose = "client" },

  client = { names = THERE }, rsaClient = { names = THERE, key = "rsa" },
  chainedClient = { by = "intermediate", names = THERE },
  wrongClient = { names = { "stranger.example" } },
  uriClient = { names = { "spiffe://fleet.example/client" } },
  addressClient = { names = { "127.0.0.1" } },
  namelessClient = { commonName = "client.fleet.example" },
  expiredClient = { names = THERE, starts = -20, ends = -1 },
  strangeClient = { by = "otherCa", names = THERE },
  revokedClient = { names = THERE },
  serverAsClient = { names = THERE, purpose = "server" },

  ca = function(fleet)
    return certificates.authority(fleet.folder, { name = "ca",
      commonName = "Fleet CA", ends = 3650 })
  end,
  otherCa = function(fleet)
    return certificates.authority(fleet.folder, { name = "otherCa",
      commonName = "Other CA", ends = 3650 })
  end,
  intermediate = function(fleet)
    return fleet.ca:intermediate { name = "intermediate",
      commonName = "Fleet issuing CA", ends = 1000 }
  end,
  crl = function(fleet)
    fleet.ca:revoke(fleet.revoked)
    fleet.ca:revoke(fleet.revokedClient)
    return fleet.ca:crl "crl"
  end,
  expiredCrl = function(fleet) return fleet.ca:crl("expiredCrl", -1) end,
  emptyCrl = function(fleet)
    assert(not rawget(fleet, "crl"), "some are revoked already")
    return fleet.ca:crl "emptyCrl"
  end,
  intermediateCrl = function(fleet)
    return fleet.intermediate:crl "intermediateCrl"
  end,
}

local methods = {}

--- Makes one that is not in the list.
-- @param options as of a CA's `issue`; `by`, the name of a CA ("ca")
-- @return { cert =, key =, both = }
function methods:issue(options)
  return self[options.by or "ca"]:issue(options)
end

--- Removes all files; done at the end of a spec file.
function methods:remove()
  local folder = rawget(self, "folder")
  if folder then files.remove(folder) end
  self.folder = nil
end

local fleet = {}

function fleet.__index(self, name)
  if methods[name] then return methods[name] end
  local kind = KINDS[name]
  if not kind then error("no kind of certificate: " .. tostring(name), 2) end
  local made
  if type(kind) == "function" then made = kind(self)
  else
    local options = { name = name }
    for key, value in pairs(kind) do options[key] = value end
    made = self:issue(options)
  end
  rawset(self, name, made)
  return made
end

--- A fleet's certificates, in a folder of their own: see above.
-- @return a table that makes each at first use; `folder`, `issue`, `remove`
function certificates.fleet()
  local folder = assert(uv.fs_mkdtemp(uv.os_tmpdir() .. "/callosum.XXXXXX"))
  local new = setmetatable({ folder = folder }, fleet)
  local busted = package.loaded.busted
  if busted then
    busted.subscribe({ "file", "end" }, function()
      new:remove()
      return nil, true
    end)
  end
  return new
end

return certificates
