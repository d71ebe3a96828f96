--- How many requests there are: what --requests and scenarios say.

local rate = {}

-- Of a virtual server: how many requests it works on at a time, and how many
-- seconds one takes on average.
rate.WORKERS, rate.SERVICE = 8, 0.010

local MOST = 100000 -- of a host: far more than a policy can make

local EXPECTED = "requests are a share of what all servers can do, such as "
  .. "75%%, or how many each host makes, such as 20/s: got %q"

local TOO_MANY = "%s is %.0f requests per second of each host: at most %d "
  .. "can be made"

--- Tells how many requests each host makes per second.
---@param text string "75%": of what all servers can do together; "20/s": a host;
--- "0": none
---@param hosts integer how many there are
---@param servers integer
---@return number? rate or nil and a message
---@return string? message
function rate.parse(text, hosts, servers)
  local number, unit = text:match "^%s*([%d.]+)%s*([%%/]s?)%s*$"
  local value = tonumber(number)
  if tonumber(text) == 0 then return 0 end
  if value and unit == "%" then
    value = value / 100 * servers * rate.WORKERS / rate.SERVICE / hosts
  elseif unit ~= "/s" then value = nil end
  if not value then return nil, EXPECTED:format(text) end
  if value > MOST then
    return nil, TOO_MANY:format(text, value, MOST)
  end
  return value
end

return rate
