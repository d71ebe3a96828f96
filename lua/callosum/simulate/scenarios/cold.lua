scenario {
  sentence = "All hosts start within a second, and nothing else happens",
  look = "peak/mean of 1.05 within seconds, and little that is opened after",
  seconds = 300,
  requestsFrom = 0,
}
