--- What a child process knows of its run, as text for its parent: tables,
--- strings, numbers and booleans.

local record = {}

local function write(value, out)
  if type(value) ~= "table" then
    out[#out + 1] = ("%q"):format(value)
    return
  end
  out[#out + 1] = "{"
  local length = #value
  for i = 1, length do
    write(value[i], out)
    out[#out + 1] = ","
  end
  for key, each in pairs(value) do
    if math.type(key) ~= "integer" or key < 1 or key > length then
      out[#out + 1] = ("[%q]="):format(key)
      write(each, out)
      out[#out + 1] = ","
    end
  end
  out[#out + 1] = "}"
end

--- Makes a text of a value, exactly.
---@param value any
---@return string
function record.write(value)
  local out = { "return " }
  write(value, out)
  return table.concat(out)
end

--- The value again.
---@param text string of `record.write`
---@return any
function record.read(text)
  return assert(load(text, "=run", "t", {}))()
end

return record
