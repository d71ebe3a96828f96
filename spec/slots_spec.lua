local slots = require "callosum.slots"
local misuse = require("support").misuse

describe("callosum.slots", function()
  it("hands out slots from 0 up", function()
    local s = slots.new()
    for slot = 0, 99 do assert.equal(slot, s:get()) end
    assert.equal(100, s:count())
  end)

  it("hands out the lowest free slot first", function()
    local s = slots.new()
    for _ = 0, 9 do s:get() end
    s:put(7):put(2):put(5)
    assert.equal(7, s:count())
    assert.equal(2, s:get())
    assert.equal(5, s:get())
    assert.equal(7, s:get())
    assert.equal(10, s:get())
  end)

  it("begins at 0 again when all are free", function()
    local s = slots.new()
    for _ = 0, 2 do s:get() end
    s:put(1):put(2):put(0)
    assert.equal(0, s:count())
    assert.equal(0, s:get())
    assert.equal(1, s:get())
  end)

  it("agrees with a naive model in 10,000 random steps", function()
    local s, taken, count = slots.new { max = 300 }, {}, 0
    for step = 1, 10000 do
      -- Drift up for a while, then down, to see both ends.
      local rising = step // 1000 % 2 == 0
      if math.random() < (rising and 0.6 or 0.4) then
        local lowest = 0
        while taken[lowest] do lowest = lowest + 1 end
        local slot = s:get()
        if lowest == 300 then
          assert.is_nil(slot)
        else
          assert.equal(lowest, slot)
          taken[slot], count = true, count + 1
        end
      else
        local slot = math.random(0, 300)
        assert.equal(taken[slot] or false, (pcall(s.put, s, slot)))
        if taken[slot] then taken[slot], count = nil, count - 1 end
      end
      assert.equal(count, s:count())
    end
  end)

  describe("with a weight", function()
    local function get(s, n)
      local list = {}
      for i = 1, n do list[i] = s:get() end
      return list
    end

    it("sends ceil((i + 1) / weight) - 1 for the lowest free i", function()
      for weight, wanted in pairs {
        [1] = { 0, 1, 2, 3, 4, 5 },
        [2] = { 0, 0, 1, 1, 2, 2 },
        [3] = { 0, 0, 0, 1, 1, 1 },
        [1.5] = { 0, 1, 1, 2, 3, 3 },
        [0.5] = { 1, 3, 5, 7, 9, 11 },
        [1 / 3] = { 2, 5, 8, 11, 14, 17 }, -- rounded as it is
        [1 / 256] = { 255, 511, 767, 1023, 1279, 1535 },
      } do
        assert.same(wanted, get(slots.new { weight = weight }, 6))
      end
      local most = slots.new { weight = 256 }
      assert.equal(0, get(most, 256)[256])
      assert.equal(1, most:get())
    end)

    it("takes a number back once for each time that it was given", function()
      local s = slots.new { weight = 2 }
      get(s, 6)
      s:put(1):put(0)
      assert.equal(4, s:count())
      assert.same({ 0, 1, 3 }, get(s, 3))
      s:put(1):put(1)
      misuse(function() s:put(1) end,
        "bad argument #1 to 'put' (slot 1 is not taken)")
      assert.same({ 1, 1, 3 }, get(s, 3))
    end)

    it("agrees with a naive model in 10,000 random steps", function()
      for _, weight in ipairs { 0.3, 0.5, 1, 1.7, 2, 7 } do
        local s, taken, count = slots.new { weight = weight }, {}, 0
        for step = 1, 2000 do
          local rising = step // 400 % 2 == 0
          if math.random() < (rising and 0.6 or 0.4) then
            local i = 0
            while taken[i] do i = i + 1 end
            taken[i] = math.ceil((i + 1) / weight) - 1
            assert.equal(taken[i], s:get())
            count = count + 1
          else
            -- Any of those with this number, for they are alike: the highest.
            local slot, of = math.random(0, 30), nil
            for i, number in pairs(taken) do
              if number == slot and i > (of or -1) then of = i end
            end
            assert.equal(of ~= nil, (pcall(s.put, s, slot)))
            if of then taken[of], count = nil, count - 1 end
          end
          assert.equal(count, s:count())
        end
      end
    end)

    it("has none left once max are out", function()
      local s = slots.new { weight = 2, max = 3 }
      assert.same({ 0, 0, 1 }, get(s, 4))
      assert.equal("EAGAIN", select(3, s:get()))
    end)

    it("refuses one that is out of range", function()
      for _, wrong in ipairs { 0, -1, 257, 0.0039, false } do
        misuse(function() slots.new { weight = wrong } end,
          ("bad argument #1 to 'new' (weight: number from 0.00390625 to 256 "
          .. "expected, got %s)"):format(wrong))
      end
    end)
  end)

  it("has none left once max are out", function()
    local s = slots.new { max = 2 }
    s:get()
    s:get()
    local slot, message, code = s:get()
    assert.is_nil(slot)
    assert.equal("all 2 slots are taken", message)
    assert.equal("EAGAIN", code)
    assert.equal(2, s:count())
    s:put(0)
    assert.equal(0, s:get())
  end)

  it("needs no more memory the longer it is used", function()
    local s = slots.new()
    for _ = 1, 100 do s:get() end
    local function cycle()
      for i = 1, 10000 do
        s:put(i * 7 % 100)
        s:get()
      end
      collectgarbage()
      return collectgarbage("count")
    end
    cycle()
    local before = cycle()
    assert.is_true(cycle() <= before + 1)
  end)

  it("lets go of its memory when all are free", function()
    local s = slots.new()
    collectgarbage()
    local before = collectgarbage("count")
    for _ = 1, 10000 do s:get() end
    for slot = 0, 9999 do s:put(slot) end
    collectgarbage()
    assert.is_true(collectgarbage("count") <= before + 1)
  end)

  describe("put", function()
    it("refuses a slot that is not taken, at the caller's line", function()
      local s = slots.new()
      s:get()
      s:get()
      s:put(0)
      for _, slot in ipairs { 0, 2, -1, math.maxinteger } do
        misuse(function() s:put(slot) end,
          ("bad argument #1 to 'put' (slot %d is not taken)"):format(slot))
      end
      assert.equal(1, s:count())
      assert.equal(0, s:get())
      assert.equal(2, s:get())
    end)

    it("refuses what is not an integer, at the caller's line", function()
      local s = slots.new()
      s:get()
      for _, slot in ipairs { 0.0, 0.5, 0/0, 1/0, "0", true, {} } do
        misuse(function() s:put(slot) end,
          ("bad argument #1 to 'put' (slot: integer expected, got %s)")
            :format(slot == "0" and "'0'" or tostring(slot)))
      end
      misuse(function() s:put() end,
        "bad argument #1 to 'put' (slot: integer expected, got nil)")
      assert.equal(1, s:count())
    end)
  end)

  describe("new", function()
    it("refuses an unknown option, naming the valid one", function()
      misuse(function() slots.new { maximum = 3 } end,
        "bad argument #1 to 'new' (unknown option 'maximum', nearest is 'max')")
      misuse(function() slots.new { size = 3 } end,
        "bad argument #1 to 'new' (unknown option 'size', valid are max, "
          .. "weight)")
    end)

    it("refuses a max that is no possible number of slots", function()
      for _, max in ipairs { 0, -1, 1.5, "3", (1 << 31) + 1 } do
        misuse(function() slots.new { max = max } end,
          ("bad argument #1 to 'new' (max: integer from 1 to 2147483648 "
            .. "expected, got %s)"):format(max == "3" and "'3'" or max))
      end
    end)

    it("refuses options that are no table", function()
      misuse(function() slots.new(3) end,
        "bad argument #1 to 'new' (table expected, got number)")
    end)
  end)
end)
