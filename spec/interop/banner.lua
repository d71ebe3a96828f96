local real = require "support.real"
local support = require "support"

local connect = support.connect

-- An SSH server says its name before its client says anything.
describe("a server that speaks first", function()
  local ssh, front

  local function begin(keptAfter, options)
    local dir, port = real.dir(), support.freePorts(1)
    local key = dir .. "/key"
    real.runsAsNobody(real.find("dropbearkey", "dropbear-bin"),
      { "-t", "ed25519", "-f", key })
    ssh = real.serve(real.find("dropbear", "dropbear-bin"), { "-F", "-E", "-p",
      "127.0.0.1:" .. port, "-r", key, "-P", dir .. "/pid" })
    ssh.port, ssh.key = port, key
    ssh:waitFor "Not backgrounding"
    front = real.front(port, options or { connectOn = "kept",
      keptAfter = keptAfter })
  end

  local function connections()
    return select(2, ssh.output:gsub("Child connection", ""))
  end

  it("is heard behind a front", function()
    begin(20)
    local peer = connect(front.port)
    assert.equal("0", peer:line())
    assert.matches("^SSH%-2%.0%-dropbear", peer:line())
    peer:close()
    real.endsAtZero(front)
  end)

  it("hears nothing of probes", function()
    begin(10000)
    for i = 1, 200 do
      local peer = connect(front.port)
      assert.equal("0", peer:line())
      peer:close()
      real.settles(front, function(s) return s.probes == i end)
    end
    assert.equal(0, connections())
    -- Who speaks at once need not wait.
    local peer = connect(front.port):write "SSH-2.0-test\r\n"
    assert.equal("0", peer:line())
    assert.matches("^SSH%-2%.0%-dropbear", peer:line())
    support.run(function() return connections() == 1 end)
    peer:close()
    real.endsAtZero(front)
  end)

  it("is heard once a relay says by a PROXY header that it joins", function()
    begin(nil, { acceptProxy = true, trusted = { "127.0.0.1" } })
    local relay = real.relay({ front.port }, { maxSlots = 2 },
      { sendProxy = "v2" })
    for i = 1, 3 do
      local peer = connect(relay.port)
      assert.matches("^SSH%-2%.0%-dropbear", peer:line())
      support.run(function() return connections() == i end)
      peer:close()
    end
    support.stop(relay)
    real.endsAtZero(front)
    assert.equal(3, connections()) -- none for those that were kept
    assert.equal(0, real.stats(front).rejected)
  end)

  it("is heard beside relays, by a real client", function()
    begin(20)
    -- It takes five who have not logged in, from one address.
    local relay = real.relay({ front.port }, { maxSlots = 2 })
    local peers = {}
    for i = 1, 3 do
      peers[i] = connect(relay.port)
      assert.matches("^SSH%-2%.0%-dropbear", peers[i]:line())
    end
    for _, each in ipairs(peers) do each:close() end
    local public = real.runsAsNobody(real.find("dropbearkey", "dropbear-bin"),
      { "-y", "-f", ssh.key }):match "ssh%-ed25519 (%S+)"
    local seen = real.runs(real.find("ssh-keyscan", "openssh-client"),
      { "-t", "ed25519", "-p", tostring(relay.port), "127.0.0.1" })
    assert.equal(public, seen:match "ssh%-ed25519 (%S+)")
    support.stop(relay)
    real.endsAtZero(front)
  end)
end)

describe("a mail server", function()
  it("takes mail behind relay and front, byte for byte", function()
    local dir, port = real.dir(), support.freePorts(1)
    local server = real.serve(real.find("aiosmtpd", "python3-aiosmtpd"),
      { "-n", "-c", "aiosmtpd.handlers.Mailbox", "-l", "127.0.0.1:" .. port,
        dir .. "/mail" })
    real.reachable(server, port)
    local front = real.front(port, { acceptProxy = true,
      trusted = { "127.0.0.1" } })
    local relay = real.relay({ front.port }, { maxSlots = 2 },
      { sendProxy = "v2" })
    local own = support.tmpdir()
    real.runs("sh", { "-c", 'head -c 1000000 /dev/urandom | base64 >"$0/body" '
      .. '&& { printf "Subject: mail\\n\\n"; cat "$0/body"; } >"$0/mail"',
      own })
    for i = 1, 5 do
      real.runs(real.find("curl", "curl"), { "-sS", "--crlf",
        ("smtp://127.0.0.1:%d"):format(relay.port), "--mail-from",
        "a@example.org", "--mail-rcpt", i .. "@example.org", "-T",
        own .. "/mail" })
    end
    assert.equal("5\n", real.runs("sh", { "-c", [[
      for mail in "$0"/mail/new/*; do
        tail -n "$(wc -l <"$1/body")" "$mail" | cmp - "$1/body" && echo same
      done | grep -c same]], dir, own }))
    support.stop(relay)
    real.endsAtZero(front)
    assert.equal(0, real.stats(front).failed)
  end)
end)
