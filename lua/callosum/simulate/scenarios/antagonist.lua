scenario {
  sentence = "Other work takes turns on the servers' machines: every 2 s one "
    .. "of them answers four times more slowly, for 5 s",
  look = "p99 and p99.9; what reacts within a second does well",
  seconds = 40,
  hosts = 100,
  requests = "75%",
}

every(2).from(10)(function()
  fleet.slow(math.random(#fleet.servers), 4, 5)
end)
