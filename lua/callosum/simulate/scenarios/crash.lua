scenario {
  sentence = "Three servers fail, each for 30 s: the first one's connections "
    .. "end with FIN, the second's with RST, the third's machine falls silent",
  look = "how few connections a client has left, and the time to min/mean of "
    .. "0.90 after the third is back",
  seconds = 600,
}

local count = #fleet.servers
at(fleet.seconds * 0.25).crash(1, "fin", 30)
at(fleet.seconds * 0.50).crash(math.min(2, count), "rst", 30)
at(fleet.seconds * 0.75).crash(math.min(3, count), "silence", 30)
