local support = require "support"

-- spec/programs/chaos runs random fleets on the virtual kernel, and checks
-- their books; `make chaos` runs more of them. The Makefile builds it; busted
-- alone does not.
local CHAOS = support.EXECUTABLE:gsub("[^/]*$", "programs/chaos")

-- valgrind knows no coroutines, by which the kernel has threads.
if support.EXECUTABLE:find "/valgrind/" then return end

-- What a sanitizer wants preloaded is for busted.
local ENV = { LD_PRELOAD = false }

-- Returns the exit status and what was written to standard error.
local function chaos(...)
  local child = support.spawn(CHAOS, { "spec/programs/chaos", "lua", ... },
    { env = ENV, cwd = support.ROOT })
  local code, signal = child:wait(6 * support.TIMEOUT)
  assert.equal(0, signal)
  return code, child.stderr
end

describe("A random fleet", function()
  it("keeps its books, loses no byte, and leaves nothing behind", function()
    assert.same({ 0, "" }, { chaos("1", support.WATCHED and "30" or "16") })
  end)

  local faults = {
    "a byte that is lost", "an index that is not freed",
    "an attempt that is not counted",
  }
  local found = {
    "hear[sd] [^\n]*byte", "%*index is %d+ and not %d+",
    "s.in_flight is %d+ and not %d+",
  }
  for number, fault in ipairs(faults) do
    it("in which there is " .. fault .. " fails, and says how to replay it",
      function()
        for seed = 1, 8 do -- it need not happen in each
          local code, text = chaos(tostring(seed), "1", tostring(number))
          if code ~= 0 and text:find(found[number]) then
            assert.equal(1, code)
            local place = "\nseed %d, after %%d+%%.%%d+ s: [%%w_]+%%.c:%%d+: "
            assert.matches(place:format(seed), text)
            assert.matches(("\nseed %d failed: make chaos SEED=%d\n$")
              :format(seed, seed), text)
            return
          end
        end
        error "it was not found"
      end)
  end
end)
