local support = require "support"
local uv = require "luv"

-- spec/programs/torture runs scenarios again and again, each time with another
-- allocation failing. The Makefile builds it; busted alone does not.
local TORTURE = support.EXECUTABLE:gsub("[^/]*$", "programs/torture")
local POLICIES = { "policy.lua", "talker.lua", "listener.lua", "shrink.lua",
  "luv.lua" }

-- Under a sanitizer not each way to fail is tried at each place: see main.c.
local STEP = support.WATCHED and "3" or "1"

-- What a sanitizer wants preloaded is for busted.
local ENV = { LD_PRELOAD = false }

-- The scenarios, each named by a sentence that says what is so.
local function scenarios()
  local list = {}
  local pipe = assert(io.popen("LD_PRELOAD= exec " .. TORTURE))
  for line in pipe:lines() do list[#list + 1] = line end
  assert(pipe:close() and #list > 0, TORTURE .. " lists no scenarios")
  return list
end

-- Copies, since a scenario touches them, behind a link, which is to be read.
local function policies()
  local folder = support.tmpdir()
  for _, name in ipairs(POLICIES) do
    local file <close> = assert(io.open(support.ROOT
      .. "/spec/programs/torture/" .. name))
    support.write(folder .. "/" .. name, file:read "a")
  end
  assert(uv.fs_symlink(".", folder .. "/link"))
  return folder
end

-- luv from 1.51, which has semaphores, crashes as it closes a loop that it had
-- no memory to make.
local LUV_CRASHES = uv.new_sem ~= nil

describe("Whatever allocation fails,", function()
  for _, scenario in ipairs(scenarios()) do
    it(scenario, function()
      if LUV_CRASHES and scenario:find "a policy with luv is loaded" then
        return pending "luv from 1.51 closes a loop that it could not make"
      end
      -- By a relative path, so that no busy folders are watched.
      local child = support.spawn(TORTURE, { "link", scenario, STEP },
        { env = ENV, cwd = policies() })
      -- Thousands of runs may take longer than other tests do.
      local code, signal = child:wait(6 * support.TIMEOUT)
      assert.equal("", child.stderr)
      assert.same({ 0, 0 }, { code, signal })
      assert.equal(scenario, child.stdout:match "^(.*): %d+ allocations")
    end)
  end
end)
