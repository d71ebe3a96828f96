-- What a host makes of the certificates that its policy's `tls` has read.

local certificates = require "support.certificates"
local scrape = require "support.scrape"
local support = require "support"
local uv = require "luv"

local logged, write = support.logged, support.write

local fleet = certificates.fleet()

local POLICY = [[
require("callosum.front").new { name = %q, listen = { port = 0 },
  backend = { port = 1 }, tls = { ca = %q, cert = %q, key = %q } }
]]

local function policy(certificate, ca, name)
  return POLICY:format(name or "main", (ca or fleet.ca).file, certificate.cert,
    certificate.key)
end

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

local function save(path, content)
  write(path .. "~", content)
  assert(uv.fs_rename(path .. "~", path))
end

-- When openssl(1) says that a certificate expires.
local function expiry(path)
  local pipe = assert(io.popen("LD_PRELOAD= date -u +%s -d \"$(LD_PRELOAD= "
    .. "openssl x509 -noout -enddate -in " .. path .. " | cut -d= -f2)\""))
  local seconds = tonumber(pipe:read "a")
  pipe:close()
  return seconds
end

local function utc(seconds) return os.date("!%Y-%m-%dT%H:%M:%SZ", seconds) end

-- A certificate and its key in a folder of their own, under names of their own.
local function deployed(certificate)
  local folder = support.tmpdir()
  return { folder = folder,
    cert = write(folder .. "/tls.crt", read(certificate.cert)),
    key = write(folder .. "/tls.key", read(certificate.key)) }
end

describe("the certificates of a policy", function()
  it("are listed by check, and a broken one fails it", function()
    local child = support.command { "check",
      support.tmpfile(policy(fleet.server)) }
    assert.equal(0, (child:wait()))
    local list = {}
    for line in child.stdout:gmatch "certificate [^\n]+" do
      list[#list + 1] = line
    end
    local function line(path)
      return ("certificate %s: expires %s"):format(path, utc(expiry(path)))
    end
    assert.same({ line(fleet.ca.file), line(fleet.server.cert) }, list)

    local broken = deployed(fleet.server)
    write(broken.cert, "no certificate\n")
    child = support.command { "check", support.tmpfile(policy(broken)) }
    assert.equal(1, (child:wait()))
    assert.matches(broken.cert, child.stderr, 1, true)
  end)

  it("have metrics and a place in the status, each file once", function()
    local host = scrape.run(policy(fleet.server)
      .. policy(fleet.chained, nil, "other"))
    local files = { fleet.ca.file, fleet.chained.cert, fleet.server.cert }
    local samples, list = host:samples(), {}
    for i, file in ipairs(files) do
      local at = expiry(file)
      assert.equal(at, samples[("callosum_tls_certificate_expiry_timestamp"
        .. "_seconds{file=%q}"):format(file)], file)
      list[i] = { file = file, expiresAt = at }
    end
    assert.same(list, host:status().certificates)
    scrape.lint(host:text())
    scrape.parse(host:text "openmetrics")

    -- Those of the policy that is loaded, only.
    host:reload [[require("callosum.rover").new {}]]
    assert.same({}, host:status().certificates)
    host:stop()
  end)

  it("are the first to expire where a file has several", function()
    local both = write(support.tmpdir() .. "/bundle.pem",
      read(fleet.ca.file) .. read(fleet.otherCa.file) .. read(fleet.soon.cert))
    local host = scrape.run(policy(fleet.server, { file = both }))
    local found
    for _, each in ipairs(host:status().certificates) do
      if each.file == both then found = each.expiresAt end
    end
    assert.equal(expiry(fleet.soon.cert), found)
    host:stop()
  end)

  it("are warned about 14 days ahead, when loaded", function()
    local child = support.policy(policy(fleet.soon))
    local warning = logged(child, "certificate expires soon")
    assert.same({ "warn", fleet.soon.cert, utc(expiry(fleet.soon.cert)), 4 },
      { warning.level, warning.file, warning.expires, warning.days })
    assert.equal(1, #support.events(child, "certificate expires soon"))
    support.stop(child)

    child = support.policy(policy(fleet.expired))
    warning = logged(child, "certificate has expired")
    assert.same({ fleet.expired.cert, utc(expiry(fleet.expired.cert)) },
      { warning.file, warning.expired })
    support.stop(child)
  end)

  it("are warned about again each day", function()
    local find = assert(io.popen "ls /usr/lib/*/faketime/libfaketimeMT.so.1")
    local faketime = find:read "l"
    find:close()
    if not faketime then return pending "no libfaketime" end
    local clock = support.tmpfile("+0", "clock")
    local child = support.policy(policy(fleet.soon) .. [[
      require "luv".new_timer():start(20, 20, function() end)
    ]], { env = {
      LD_PRELOAD = faketime .. " " .. (os.getenv "LD_PRELOAD" or ""),
      ASAN_OPTIONS = "verify_asan_link_order=0",
      FAKETIME_TIMESTAMP_FILE = clock, FAKETIME_NO_CACHE = "1",
      FAKETIME_DONT_FAKE_MONOTONIC = "0" } })
    assert.equal(4, logged(child, "certificate expires soon", 1).days)
    save(clock, "+86401")
    assert.equal(3, logged(child, "certificate expires soon", 2).days)
    save(clock, "+" .. 6 * 86400)
    logged(child, "certificate has expired")
    support.stop(child)
  end)
end)

describe("certificates that change", function()
  -- Runs a policy that watches, with a certificate of its own.
  local function watching(own, text)
    local child = support.policy(text or policy(own), { flags = { "--watch" } })
    logged(child, "policy loaded")
    return child
  end

  -- Waits for the n-th reload, which came from that file.
  local function reloaded(child, n, file)
    assert.equal(file, logged(child, "file changed", n).file)
    assert.equal("watch", logged(child, "policy reloaded", n).trigger)
  end

  it("are read anew by --watch, wherever they are, and the log names the file",
    function()
      local own = deployed(fleet.server)
      local child = watching(own)
      write(own.cert, read(fleet.server.cert) .. "\n")
      reloaded(child, 1, own.cert)
      save(own.key, read(fleet.server.key) .. "\n")
      reloaded(child, 2, own.key)
      support.stop(child)
    end)

  it("are read anew when Kubernetes has swapped their folder", function()
    local folder = support.tmpdir()
    local function version(n, certificate)
      local name = ("%s/..v%d"):format(folder, n)
      assert(uv.fs_mkdir(name, tonumber("755", 8)))
      write(name .. "/tls.crt", read(certificate.cert))
      write(name .. "/tls.key", read(certificate.key))
      assert(uv.fs_symlink("..v" .. n, folder .. "/..data_tmp"))
      assert(uv.fs_rename(folder .. "/..data_tmp", folder .. "/..data"))
    end
    version(1, fleet.server)
    for _, name in ipairs { "tls.crt", "tls.key" } do
      assert(uv.fs_symlink("..data/" .. name, folder .. "/" .. name))
    end
    local child = watching { cert = folder .. "/tls.crt",
      key = folder .. "/tls.key" }
    for n, certificate in ipairs { fleet.rsaServer, fleet.chained } do
      version(n + 1, certificate)
      reloaded(child, n, folder .. "/tls.crt")
      for _, name in ipairs { "tls.crt", "tls.key" } do
        assert(uv.fs_unlink(("%s/..v%d/%s"):format(folder, n, name)))
      end
      assert(uv.fs_rmdir(folder .. "/..v" .. n))
    end
    support.stop(child)
  end)

  it("are read anew when a folder of CAs gets another", function()
    local folder = support.tmpdir()
    local function add(ca)
      write(folder .. "/" .. ca .. ".pem", read(fleet[ca].file))
      assert(os.execute("LD_PRELOAD= openssl rehash " .. folder))
    end
    add "ca"
    local child = watching(nil, policy(fleet.server, { file = folder }))
    add "otherCa"
    reloaded(child, 1, folder)
    support.stop(child)
  end)

  it("stay as they were when a file is broken, until it is mended", function()
    local own = deployed(fleet.server)
    local child = watching(own)
    save(own.cert, read(fleet.server.cert):sub(1, 200))
    local failure = logged(child, "reload failed, the old policy goes on", 1)
    assert.matches(own.cert, failure.error, 1, true)
    -- The key is not the new certificate's, as while both are written.
    save(own.cert, read(fleet.chained.cert))
    failure = logged(child, "reload failed, the old policy goes on", 2)
    assert.matches(own.cert, failure.error, 1, true)
    assert(uv.fs_unlink(own.cert))
    failure = logged(child, "reload failed, the old policy goes on", 3)
    assert.matches(own.cert, failure.error, 1, true)
    assert.equal(0, #support.events(child, "policy reloaded"))
    write(own.cert, read(fleet.server.cert))
    logged(child, "policy reloaded")
    support.stop(child)
  end)

  it("that are broken count as a failed reload, and the old are shown",
    function()
      local own = deployed(fleet.server)
      local host = scrape.run(policy(own))
      write(own.cert, "nothing")
      assert.is_true(host:reload() < 0)
      local samples, status = host:samples(), host:status()
      assert.equal(0, samples.callosum_policy_last_reload_successful)
      assert.equal(1, samples.callosum_policy_failed_reloads_total)
      assert.matches(own.cert, status.reloads.lastFailure.error, 1, true)
      assert.same({ file = own.cert, expiresAt = expiry(fleet.server.cert) },
        status.certificates[status.certificates[1].file == own.cert and 1 or 2])

      write(own.cert, read(fleet.soon.cert))
      write(own.key, read(fleet.soon.key))
      assert.equal(0, host:reload())
      assert.equal(expiry(fleet.soon.cert), host:samples()[
        ("callosum_tls_certificate_expiry_timestamp_seconds{file=%q}")
        :format(own.cert)])
      host:stop()
    end)
end)
