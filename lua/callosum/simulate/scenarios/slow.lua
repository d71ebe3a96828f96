scenario {
  sentence = "One server answers ten times more slowly, with all at 75% of "
    .. "what they can do",
  look = "a p99.9 close to that without it, and a small share of requests at "
    .. "s1",
  seconds = 40,
  hosts = 100,
  requests = "75%",
}

at(10).slow("s1", 10)
