scenario {
  sentence = "A tenth of the hosts lose power, and are back after 10 s: the "
    .. "servers still hold the slots of connections that nobody has",
  look = "a peak that falls to 1.05 as the servers notice (keepalive), and the "
    .. "time that takes",
  seconds = 500,
}

at(fleet.seconds * 0.4).vanish(0.1, 10)
