scenario {
  sentence = "For 10 s there are three times as many requests: 75% of what the "
    .. "servers can do instead of 25%",
  look = "few that wait for a connection, and the p99 of the busiest second",
  seconds = 40,
  hosts = 100,
  requests = "25%",
}

at(15).surge(3, 10)
