scenario {
  sentence = "Each server is restarted, one after the other, in half of the "
    .. "time; each is down for 10 s",
  look = "a peak of about 1.1, and the last one restarted fills up: min/mean "
    .. "of 0.90 soon after the end",
  seconds = 800,
}

local first, between = fleet.seconds / 4, fleet.seconds / 2 / #fleet.servers
for i = 1, #fleet.servers do
  at(first + (i - 1) * between).restart(i, 10)
end
