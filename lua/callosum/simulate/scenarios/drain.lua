scenario {
  sentence = "Fronts give the slots. Each is drained over 30 s, one after the "
    .. "other, and is in use again 10 s later",
  look = "no client far below its target, no peak above 1.10, nothing lost",
  seconds = 1600,
  fronts = true,
}

local first, between = fleet.seconds / 8, fleet.seconds * 5 / 8 / #fleet.servers
for i = 1, #fleet.servers do
  local time = first + (i - 1) * between
  at(time).drain(i, 30)
  at(time + 40).resume(i)
end
