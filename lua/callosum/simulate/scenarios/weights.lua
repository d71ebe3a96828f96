scenario {
  sentence = "s1 has half the weight of the others, s2 twice the weight",
  look = "shares as the weights are: peak and min are of a server's own part",
  seconds = 300,
  fronts = true,
}

at(0).weight("s1", 0.5)
at(0).weight(math.min(2, #fleet.servers), 2)
