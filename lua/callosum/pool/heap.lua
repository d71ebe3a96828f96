--- An indexed binary heap: its first item is the one that goes before all
--- others, and any item can be removed. `push` and `remove` take O(log n), the
--- rest O(1); items that were removed are not referred to any more.
---
---     local heap = require "callosum.pool.heap"
---     local lowest = heap.new(function(a, b) return a.slot < b.slot end)
local heap = {}

---@class callosum.Heap
---@field package before fun(a: any, b: any): boolean
---@field package items any[] item 1 goes before items 2 and 3, and so on
---@field package places table<any, integer> where each item is
local methods = {}
local metatable = { __name = "callosum.pool.heap", __index = methods }

local function put(self, item, place)
  self.items[place] = item
  self.places[item] = place
end

-- Puts an item where it belongs, starting at an empty place: below whatever
-- goes before it, ...
local function rise(self, item, place)
  while place > 1 do
    local parent = self.items[place // 2]
    if not self.before(item, parent) then break end
    put(self, parent, place)
    place = place // 2
  end
  put(self, item, place)
end

-- ... and above what it goes before.
local function sink(self, item, place)
  local items, before = self.items, self.before
  while items[2 * place] do
    local child = 2 * place
    if items[child + 1] and before(items[child + 1], items[child]) then
      child = child + 1
    end
    if not before(items[child], item) then break end
    put(self, items[child], place)
    place = child
  end
  rise(self, item, place)
end

--- Adds an item, which must not be there already.
---@param item any
function methods:push(item)
  rise(self, item, #self.items + 1)
end

--- Removes an item.
---@param item any
---@return boolean removed false if it was not there
function methods:remove(item)
  local place = self.places[item]
  if not place then return false end
  self.places[item] = nil
  local last = table.remove(self.items)
  if last ~= item then sink(self, last, place) end
  return true
end

--- The item that goes before all others.
---@return any? item
function methods:first()
  return self.items[1]
end

--- A random item, each as likely as any other.
---@return any? item
function methods:random()
  return self.items[math.random(math.max(1, #self.items))]
end

--- One of the items: each number from 1 to their count stands for another one,
--- until the next push or removal.
---@param place integer
---@return any? item
function methods:item(place)
  return self.items[place]
end

---@return integer count of its items
function metatable:__len()
  return #self.items
end

--- Makes a heap.
---@param before fun(a: any, b: any): boolean whether `a` goes before `b`
---@return callosum.Heap
function heap.new(before)
  return setmetatable({ before = before, items = {}, places = {} }, metatable)
end

return heap
