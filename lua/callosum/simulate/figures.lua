--- What a run comes to, computed from samples of it.

local figures = {}

local HOLD = 5 -- seconds for which a goal has to be held
local END = 2 -- seconds of which the last figures are the median
local FULL = 0.9 -- of the most connections there were: the fleet is filled

--- How evenly servers are loaded at one moment. Of a server with weight 2 twice
--- the connections are expected. Servers that are down do not count.
---@param counts integer[] connections of each server
---@param up boolean[] whether it is up
---@param weights table<integer, number> those that are not 1
---@return table sample total, mean (of a server of weight 1), and, as ratios to
---  what is expected, peak, min and cv (infinite, 0, infinite while there is no
---  connection)
function figures.look(counts, up, weights)
  local total, share, servers = 0, 0, 0
  for i, n in ipairs(counts) do
    if up[i] then
      total, share = total + n, share + (weights[i] or 1)
      servers = servers + 1
    end
  end
  local sample = { total = total, mean = share > 0 and total / share or 0,
    peak = math.huge, min = 0, cv = math.huge }
  if total == 0 then return sample end

  local peak, min, squares = 0, math.huge, 0
  for i, n in ipairs(counts) do
    if up[i] then
      local ratio = n / (weights[i] or 1) / sample.mean
      peak, min = math.max(peak, ratio), math.min(min, ratio)
      squares = squares + (ratio - 1) ^ 2
    end
  end
  sample.peak, sample.min, sample.cv = peak, min, math.sqrt(squares / servers)
  return sample
end

--- How long after `from` a goal was reached that was then held.
---@param samples table[] in order, each with the time `at`, in seconds
---@param from number
---@param reached fun(sample: table): boolean
---@return number? seconds nil if it never was
function figures.timeTo(samples, from, reached)
  local since
  for _, sample in ipairs(samples) do
    if sample.at >= from then
      if not reached(sample) then since = nil
      else since = since or sample.at end
      if since and sample.at - since >= HOLD then return since - from end
    end
  end
end

--- The median of a field in the last two seconds.
---@param samples table[]
---@param field string
---@return number?
function figures.last(samples, field)
  local list = {}
  for i = #samples, 1, -1 do
    if samples[i].at <= samples[#samples].at - END and #list > 0 then break end
    list[#list + 1] = samples[i][field]
  end
  table.sort(list)
  return list[(#list + 1) // 2]
end

--- When the first and the last change to the fleet were over: nil without any.
--- What happens at 0 belongs to the start.
---@param events table[] as in a run
---@return number? first
---@return number? last
function figures.span(events)
  local first, last
  for _, event in ipairs(events) do
    if event.at > 0 then
      first = math.min(first or event.at, event.at)
      last = math.max(last or 0, event.till or event.at)
    end
  end
  return first, last
end

-- When the fleet was filled.
local function filled(samples)
  local most = 0
  for _, sample in ipairs(samples) do most = math.max(most, sample.total) end
  for _, sample in ipairs(samples) do
    if sample.total >= FULL * most then return sample.at end
  end
  return 0
end

local function worst(samples, from, field, than)
  local value
  for _, sample in ipairs(samples) do
    local own = sample.at >= from and sample[field]
    if own and (not value or than(own, value) == own) then value = own end
  end
  return value
end

--- The figures of all connections.
---@param samples table[] those of `look`, with `at`, `opens` (so far), and the
---  connections of the hosts with fewest, `fill`, and with `most`
---@param events table[]
---@param hosts integer
---@return table connections as in a run; those that there are none of are nil
function figures.connections(samples, events, hosts)
  local first, changed = figures.span(events)
  local from, settling = first or filled(samples), changed or 0
  local final, before = samples[#samples], 0
  if not final then return { from = 0 } end
  for _, sample in ipairs(samples) do
    if sample.at <= (first or 0) then before = sample.opens end
  end
  local span = final.at - (first or 0)
  return {
    from = from,
    settling = settling,
    peak = figures.last(samples, "peak"),
    worst = worst(samples, from, "peak", math.max),
    min = figures.last(samples, "min"),
    cv = figures.last(samples, "cv"),
    to110 = figures.timeTo(samples, settling,
      function(sample) return sample.peak <= 1.10 end),
    to105 = figures.timeTo(samples, settling,
      function(sample) return sample.peak <= 1.05 end),
    to90 = figures.timeTo(samples, settling,
      function(sample) return sample.min >= 0.90 end),
    opensBefore = before,
    opens = final.opens - before,
    churn = span > 0 and (final.opens - before) / hosts / span or nil,
    fill = figures.last(samples, "fill"),
    leastFill = worst(samples, from, "fill", math.min),
    target = worst(samples, 0, "most", math.max),
  }
end

return figures
