scenario {
  sentence = "A tenth of the hosts lose power, and are back after 10 s. Later "
    .. "s1 forgets its connections without a word. What the other side still "
    .. "has are ghosts, until its keepalive ends them",
  look = "how long that takes (time to min/mean of 0.90), and with --requests "
    .. "how many are lost",
  seconds = 500,
}

at(fleet.seconds * 0.4).vanish(0.1, 10)
at(fleet.seconds * 0.6).ghost "s1"
