scenario {
  sentence = "For 60 s no packet passes between half of the hosts and half of "
    .. "the servers",
  look = "no client without connections, and the time to 1.05 once it is over",
  seconds = 500,
}

local half = ("s1-s%d"):format((#fleet.servers + 1) // 2)
at(fleet.seconds * 0.4).partition(0.5, half, 60)
