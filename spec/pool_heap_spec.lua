local heap = require "callosum.pool.heap"

-- Items that differ by more than what they are ordered by.
local function items(n)
  local list = {}
  for i = 1, n do list[i] = { key = math.random(n // 3 + 1) } end
  return list
end

local function lower(a, b) return a.key < b.key end

describe("callosum.pool.heap", function()
  it("gives what goes before all others, or nil", function()
    local h = heap.new(lower)
    assert.is_nil(h:first())
    assert.is_nil(h:random())
    h:push { key = 3 }
    h:push { key = 1 }
    h:push { key = 2 }
    assert.equal(1, h:first().key)
    assert.equal(3, #h)
  end)

  it("removes any item, and says whether it was there", function()
    local h = heap.new(lower)
    local one, two = { key = 1 }, { key = 2 }
    h:push(one)
    h:push(two)
    assert.is_true(h:remove(one))
    assert.is_false(h:remove(one))
    assert.equal(two, h:first())
    assert.is_true(h:remove(two))
    assert.equal(0, #h)
  end)

  it("keeps its order through any pushes and removals", function()
    local seed = os.time()
    math.randomseed(seed)
    for n = 1, 60 do
      local h, inside = heap.new(lower), {}
      for _, item in ipairs(items(n)) do
        h:push(item)
        inside[#inside + 1] = item
        if math.random() < 0.4 then
          h:remove(table.remove(inside, math.random(#inside)))
        end
        table.sort(inside, lower)
        local first = h:first()
        assert.equal(inside[1] and inside[1].key, first and first.key,
          "seed " .. seed)
        assert.equal(#inside, #h)
      end
      while #inside > 0 do
        assert.equal(inside[1].key, h:first().key, "seed " .. seed)
        local item = h:first()
        h:remove(item)
        for i, each in ipairs(inside) do
          if each == item then table.remove(inside, i) break end
        end
      end
    end
  end)

  it("gives random items, each as likely", function()
    local h, counts = heap.new(lower), {}
    for _, item in ipairs(items(10)) do h:push(item) end
    for _ = 1, 5000 do
      local item = h:random()
      counts[item] = (counts[item] or 0) + 1
    end
    local seen = 0
    for _, count in pairs(counts) do
      seen = seen + 1
      assert.is_true(count > 350 and count < 650, count)
    end
    assert.equal(10, seen)
  end)

  it("holds nothing of what was removed", function()
    local h = heap.new(lower)
    local gone = setmetatable({}, { __mode = "k" })
    for _ = 1, 1000 do
      local item = { key = math.random(100) }
      gone[item] = true
      h:push(item)
      if #h > 5 then h:remove(h:first()) end
    end
    while #h > 0 do h:remove(h:first()) end
    collectgarbage()
    assert.is_nil(next(gone))
  end)
end)
