--- How timelines name hosts and servers: "s3", the index 3, the range
--- "s1-s10", an array of any of these, or "all".

local names = {}

local WHAT = { h = "host", s = "server" }

local function range(letter, from, to)
  local list = {}
  for i = from, to do list[#list + 1] = letter .. i end
  return list
end

--- The array of all names of a kind.
---@param letter "h"|"s" hosts or servers
---@param count integer how many there are
---@return string[]
function names.all(letter, count) return range(letter, 1, count) end

local function unknown(letter, name, count)
  error(("unknown %s '%s': there are %s1 to %s%d"):format(WHAT[letter], name,
    letter, letter, count), 0)
end

local function add(list, letter, from, to, name, count)
  if not from or from < 1 or to > count then unknown(letter, name, count) end
  if from > to then
    error(("'%s' begins with the higher number"):format(name), 0)
  end
  for i = from, to do list[#list + 1] = i end
end

local function collect(list, letter, value, count)
  local kind = math.type(value) or type(value)
  if kind == "integer" then
    add(list, letter, value, value, value, count)
  elseif kind == "string" and value == "all" then
    add(list, letter, 1, count, value, count)
  elseif kind == "string" then
    local from, to = value:match("^" .. letter .. "(%d+)%-" .. letter
      .. "(%d+)$")
    from = from or value:match("^" .. letter .. "(%d+)$")
    add(list, letter, math.tointeger(from), math.tointeger(to or from), value,
      count)
  elseif kind == "table" and #value > 0 then
    for _, each in ipairs(value) do collect(list, letter, each, count) end
  else
    error(("%ss expected (\"%s3\", \"%s1-%s5\", an array of these or "
      .. "\"all\"), got %s"):format(WHAT[letter], letter, letter, letter,
      kind == "table" and "an empty table" or kind), 0)
  end
end

--- The indices that are meant, each once, in ascending order. Raises a message
--- without a position.
---@param letter "h"|"s" hosts or servers
---@param value any
---@param count integer how many there are
---@return integer[]
function names.indices(letter, value, count)
  local list, seen, result = {}, {}, {}
  collect(list, letter, value, count)
  table.sort(list)
  for _, index in ipairs(list) do
    if not seen[index] then result[#result + 1] = index end
    seen[index] = true
  end
  return result
end

--- Indices as a short text: "s1-s3, s7".
---@param letter "h"|"s"
---@param indices integer[] ascending
---@return string
function names.text(letter, indices)
  local parts, i = {}, 1
  while i <= #indices do
    local from, to = indices[i], indices[i]
    while indices[i + 1] == to + 1 do i, to = i + 1, to + 1 end
    parts[#parts + 1] = from == to and letter .. from
      or ("%s%d-%s%d"):format(letter, from, letter, to)
    i = i + 1
  end
  return table.concat(parts, ", ")
end

return names
