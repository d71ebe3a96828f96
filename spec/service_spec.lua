local support = require "support"

local installed = support.installed

-- The unit of that kind ("service"), and from what it sets to a list of the
-- values.
local function unit(kind)
  local path = installed.tree().prefix
    .. "/lib/systemd/system/callosum-rover@." .. (kind or "service")
  local settings = {}
  for line in io.lines(path) do
    local name, value = line:match "^(%u%a+)=(.*)$"
    if name then
      settings[name] = settings[name] or {}
      table.insert(settings[name], value)
    end
  end
  return path, settings
end

describe("the systemd unit", function()
  it("runs the installed command with the policy that it is named for",
      function()
    local _, settings = unit()
    local command = installed.tree().bin .. "/callosum-rover "
    local policy = " $OPTIONS /etc/callosum/%i.lua $ARGS"
    local admin = " --admin /run/callosum/%i/admin.sock"
    assert.same({ command .. "run" .. admin .. policy }, settings.ExecStart)
    assert.same({ "callosum/%i" }, settings.RuntimeDirectory)
    assert.same({ command .. "reload" .. admin }, settings.ExecReload)
    assert.same({ command .. "check --quiet" .. policy }, settings.ExecStartPre)
    assert.same({ "OPTIONS= ARGS=" }, settings.Environment)
    assert.same({ "-/etc/callosum/%i.env" }, settings.EnvironmentFile)
    assert.same({ "notify" }, settings.Type)
    assert.same({ "all" }, settings.NotifyAccess)
    -- Longer than loading may block the loop.
    assert.same({ "30" }, settings.WatchdogSec)
  end)

  it("gives it no more rights than it needs", function()
    local _, settings = unit()
    for name, value in pairs {
      DynamicUser = "yes", NoNewPrivileges = "yes", ProtectSystem = "strict",
      ProtectHome = "yes", PrivateTmp = "yes", CapabilityBoundingSet = "",
      MemoryDenyWriteExecute = "yes",
    } do
      assert.same({ value }, settings[name], name)
    end
    assert.is_truthy(settings.SystemCallFilter)
    assert.is_truthy(settings.RestrictAddressFamilies)
  end)

  it("comes with a socket that is named for the policy", function()
    local _, settings = unit "socket"
    assert.same({ "%i" }, settings.FileDescriptorName)
    assert.same({ "/run/callosum/%i.sock" }, settings.ListenStream)
    assert.same({ "0600" }, settings.SocketMode)
    assert.is_nil(settings.Accept)
    assert.same({ "sockets.target" }, settings.WantedBy)
  end)

  -- What systemd-analyze says of the unit, or nil where there is none.
  local function analyze(arguments, kind)
    local child = support.spawn("sh", { "-c",
      "command -v systemd-analyze >/dev/null || exit 77\n"
      .. "exec systemd-analyze " .. arguments .. ' "$1"', "sh",
      (unit(kind):gsub("@%.", "@policy.")) }, { env = { LD_PRELOAD = false } })
    local code = child:wait()
    if code == 77 then return end
    assert.equal(0, code, child.output)
    return child.output
  end

  it("is in order to systemd, where there is one", function()
    for _, kind in ipairs { "service", "socket" } do
      local said = analyze("verify --man=no", kind)
      if not said then return pending "no systemd-analyze" end
      assert.equal("", said)
    end
  end)

  it("is exposed by 1.3 of 10 at most, as systemd reckons", function()
    if not analyze "security --offline=true --threshold=13 --no-pager" then
      return pending "no systemd-analyze"
    end
  end)
end)
