local support = require "support"

local installed = support.installed

-- Completes the last of these words, which bash has split as it does.
local function complete(cwd, ...)
  local script = installed.tree().prefix
    .. "/share/bash-completion/completions/callosum-rover"
  local printed = installed.run("bash", { "--norc", "-c", [[
    . "$1" && shift
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    complete -p callosum-rover >/dev/null && _callosum_rover
    ((${#COMPREPLY[@]} == 0)) || printf '%s\n' "${COMPREPLY[@]}"
  ]], "bash", script, installed.tree().bin .. "/callosum-rover", ... },
    { cwd = cwd })
  local words = {}
  for word in printed:gmatch "[^\n]+" do words[#words + 1] = word end
  return words
end

local function set(words)
  local found = {}
  for _, word in ipairs(words) do found[word] = true end
  return found
end

-- The options of all commands, as --help tells them: name -> takes a value.
local function options()
  local help = installed.run(installed.tree().bin .. "/callosum-rover",
    { "--help" })
  local found = {}
  for name, rest in help:gmatch "\n  [%-%a, ]-(%-%-[%l-]+)([^\n]*)" do
    found[name] = rest:find "^ %u" ~= nil
  end
  return found
end

describe("completion in bash", function()
  it("knows the commands", function()
    local words = set(complete(nil, ""))
    for _, word in ipairs { "run", "check", "front", "serve", "simulate",
        "status", "top", "servers", "reload", "drain", "resume" } do
      assert.is_true(words[word], word)
    end
    assert.same({ "simulate" }, complete(nil, "si"))
    assert.same({ "--version" }, complete(nil, "--v"))
  end)

  for _, command in ipairs { "run", "check", "front", "serve", "status",
      "top", "servers", "reload", "drain", "resume" } do
    it("knows the options of " .. command .. ", and no others", function()
      local words = complete(nil, command, "--")
      -- check takes the options of run, but does not offer them.
      local taken = command == "check" and complete(nil, "run", "--") or {}
      table.move(taken, 1, #taken, #words + 1, words)
      local all = options()
      -- An option may be abbreviated, and then is the other one, if that is the
      -- only one.
      local function isKnown(name)
        local longer = {}
        for _, word in ipairs(words) do
          if word == name then return true end
          if word:sub(1, #name) == name then longer[word] = true end
        end
        local other = next(longer)
        return other and not next(longer, other) and all[other] == all[name]
      end
      for name, valued in pairs(all) do
        local value = ({ ["--log-format"] = "text", ["--log-level"] = "info",
          ["--connect-on"] = "kept", ["--send-proxy"] = "v2",
          ["--tls-verify"] = "none", ["--tls-min-version"] = "1.3",
          ["--sort"] = "id" })[name] or "1"
        local child = installed.spawn(
          installed.tree().bin .. "/callosum-rover",
          { command, valued and name .. "=" .. value or name, "--help" })
        assert.equal(isKnown(name) and 0 or 2, child:wait(), name)
      end
    end)
  end

  it("knows what options have for values", function()
    for _, how in ipairs { { "--log-format" }, { "--log-format", "=" } } do
      assert.same({ "text", "json" }, complete(nil, "run",
        table.unpack { how[1], how[2] or "" }))
    end
    assert.same({ "json" }, complete(nil, "run", "--log-format", "=", "j"))
    assert.same({ "debug" }, complete(nil, "serve", "--log-level", "d"))
    assert.same({ "data", "kept", "slot" },
      complete(nil, "front", "--connect-on", ""))
    assert.same({ "v1", "v2" }, complete(nil, "front", "--send-proxy", "v"))
    assert.same({ "1.2", "1.3" },
      complete(nil, "front", "--tls-min-version", ""))
    assert.same({ "optional" }, complete(nil, "front", "--tls-verify", "o"))
    assert.same({ "connections" }, complete(nil, "top", "--sort", "c"))
    assert.same({}, complete(nil, "run", "--for", ""))
    local folder = support.tmpdir()
    assert(require "luv".fs_mkdir(folder .. "/inside", 0x1c0))
    support.write(folder .. "/file", "")
    assert.same({ "inside" }, complete(folder, "run", "--allow-path", ""))
    assert.same({ "file" }, complete(folder, "front", "--tls-cert", "f"))
  end)

  it("knows options and scenarios of simulate", function()
    local words = set(complete(nil, "simulate", "--"))
    for _, word in ipairs { "--hosts", "--json", "--scenario", "--help" } do
      assert.is_true(words[word], word)
    end
    assert.is_nil(words["--watch"])
    local folder = support.tmpdir()
    support.write(folder .. "/mine.lua", "")
    words = set(complete(folder, "simulate", "--scenario", ""))
    for _, word in ipairs { "mine.lua", "cold", "roll", "crash" } do
      assert.is_true(words[word], word)
    end
    assert.same({ "roll" }, complete(folder, "simulate", "--scenario", "ro"))
    assert.same({ "mine.lua" }, complete(folder, "simulate", "--hosts", "3",
      ""))
  end)

  it("offers policies, folders, and files behind the policy", function()
    local folder = support.tmpdir()
    for _, name in ipairs { "a b.lua", "policy.lua", "servers.txt" } do
      support.write(folder .. "/" .. name, "")
    end
    assert(require "luv".fs_mkdir(folder .. "/more", 0x1c0))

    local policies = { "a b.lua", "more", "policy.lua" }
    local files = { "a b.lua", "more", "policy.lua", "servers.txt" }
    assert.same(policies, complete(folder, "check", ""))
    for _, before in ipairs { { "--watch" }, { "--for", "3" },
        { "--for", "=", "3" }, { "--log-level", "info", "--sandbox" },
        { "--" } } do
      local words = { "run", table.unpack(before) }
      words[#words + 1] = ""
      assert.same(policies, complete(folder, table.unpack(words)))
      words[#words], words[#words + 1] = "policy.lua", ""
      assert.same(files, complete(folder, table.unpack(words)))
      words[#words] = "--"
      assert.same({}, complete(folder, table.unpack(words)))
    end
  end)

  it("offers a command to serve, and files to it", function()
    local folder = support.tmpdir()
    support.write(folder .. "/policy.lua", "")
    assert.same({}, complete(folder, "serve", "40"))
    local commands = set(complete(folder, "serve", "4040", "--", "ba"))
    assert.is_true(commands.bash)
    assert.same({ "policy.lua" },
      complete(folder, "serve", "4040", "--", "cat", "po"))
  end)
end)
