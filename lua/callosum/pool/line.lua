local heap = require "callosum.pool.heap"
local options = require "callosum.options"

--- A queue of callbacks that wait for something, first come, first served, each
--- until its own deadline. They are called from luv's loop. luv is opened for
--- the first one that waits: it takes more memory than all modules of a pool.
local line = {}

---@class callosum.Line
---@field package what string for messages
---@field package take fun(waited: integer): any gives the next thing to who has
---  waited for so many ns, or nil if there is none
---@field package give fun(fn: function, thing: any) calls a callback with it
---@field package books userdata where it is counted who waits, and how long
---@field package waiters callosum.Heap in order
---@field package deadlines callosum.Heap the same, next deadline first
---@field package last integer number of the latest one
---@field package awake boolean there may be something to take
---@field package polled number when the loop was last let poll once more
local methods = {}
local metatable = { __name = "callosum.pool.line", __index = methods }

local function earlier(a, b) return a.number < b.number end
local function sooner(a, b) return a.due < b.due end

local function now() return options.now() / 1e6 end

-- One timer serves the queue: in the next turn of the loop if there may be
-- something to take, otherwise at the next deadline. It exists while callbacks
-- wait.
local function arm(self)
  if #self.waiters == 0 then
    if self.timer then self.timer:close() end
    self.timer = nil
    return
  end
  self.timer = self.timer or require "luv".new_timer()
  local ms = math.max(0, math.ceil(self.deadlines:first().due - now()))
  self.timer:start(self.awake and 0 or ms, 0, self.serve)
end

local function leave(self, waiter)
  if not self.waiters:remove(waiter) then return false end
  self.deadlines:remove(waiter)
  self.books:wait(-1)
  arm(self)
  return true
end

-- How long a callback has waited, in ns.
local function waited(waiter)
  return math.floor((now() - waiter.due + waiter.ms) * 1e6)
end

-- Serves one callback. It is called last, since it may raise an error.
local function serve(self)
  local first, next = self.waiters:first(), self.deadlines:first()
  if self.message then
    leave(self, first)
    return first.fn(nil, self.message, self.code)
  end
  local thing = self.take(waited(first))
  if thing ~= nil then
    leave(self, first)
    return self.give(first.fn, thing)
  end
  self.awake = false
  local time = now()
  if next.due > time then return arm(self) end
  -- If the loop was held up, what they wait for may already be in the kernel.
  if next.due > self.polled then
    self.polled = time
    return self.timer:start(1, 0, self.serve)
  end
  leave(self, next)
  self.books:expire(waited(next))
  next.fn(nil, ("no %s came within %d ms"):format(self.what, next.ms),
    "ETIMEDOUT")
end

--- Queues a callback.
---@param fn function called with nil, a message and a code if nothing came
---@param ms integer how long it waits at most
---@return fun(): boolean cancel removes it; false if it was called before
function methods:wait(fn, ms)
  self.last = self.last + 1
  local waiter = { fn = fn, ms = ms, due = now() + ms, number = self.last }
  self.waiters:push(waiter)
  self.deadlines:push(waiter)
  self.books:wait(1)
  arm(self)
  return function() return leave(self, waiter) end
end

--- To be called when there is something to take.
function methods:wake()
  self.awake = true
  arm(self)
end

--- Calls all callbacks with this message and code instead.
---@param message string
---@param code string
function methods:close(message, code)
  self.message, self.code = message, code
  self:wake()
end

---@return integer count of callbacks that wait
function metatable:__len()
  return #self.waiters
end

--- Opens luv, which is to be done before anything waits.
---@return true? opened or nil, and why not: the sandbox has no luv
---@return string? message
function line.open()
  local ok, why = pcall(require, "luv")
  if ok then return true end
  return nil, "waiting needs luv's timers: " .. tostring(why)
end

--- Makes a queue.
---@param what string for what they wait, in messages
---@param take fun(waited: integer): any gives the next thing to who has waited
---  for so many ns, or nil if there is none
---@param give fun(fn: function, thing: any) calls a callback with it
---@param books userdata where it is counted who waits, and how long
---@return callosum.Line
function line.new(what, take, give, books)
  local self = setmetatable({
    what = what,
    take = take,
    give = give,
    books = books,
    waiters = heap.new(earlier),
    deadlines = heap.new(sooner),
    last = 0,
    awake = false,
    polled = 0,
  }, metatable)
  self.serve = function() serve(self) end
  return self
end

return line
