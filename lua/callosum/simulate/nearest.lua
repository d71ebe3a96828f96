-- The valid name that is most like a mistyped one.

-- The number of letters in the common prefix and suffix of two names.
local function likeness(a, b)
  local least, before, behind = math.min(#a, #b), 0, 0
  while before < least and a:byte(before + 1) == b:byte(before + 1) do
    before = before + 1
  end
  while before + behind < least
      and a:byte(#a - behind) == b:byte(#b - behind) do
    behind = behind + 1
  end
  return before + behind
end

--- Tells what to write instead.
-- @param name what was written
-- @param valid array of names
-- @return "nearest is 'NAME'", or "valid are NAME, NAME" if none is like it
return function(name, valid)
  local nearest, best = nil, 0
  for _, each in ipairs(valid) do
    local like = likeness(name, each)
    if like > best and 2 * like >= math.max(#name, #each) then
      nearest, best = each, like
    end
  end
  if nearest then return ("nearest is '%s'"):format(nearest) end
  return "valid are " .. table.concat(valid, ", ")
end
