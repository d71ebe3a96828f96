scenario {
  sentence = "Two servers are added; the hosts learn of them within 10 s",
  look = "the new servers fill up (min/mean), and nobody is above 1.10",
  seconds = 500,
}

at(fleet.seconds * 0.4).add(2, 10)
