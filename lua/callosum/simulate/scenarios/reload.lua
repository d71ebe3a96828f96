scenario {
  sentence = "All hosts load the policy again, within 10 s",
  look = "no connection less and no error, and a few probes more",
  seconds = 300,
}

at(fleet.seconds * 0.5).reload(1, nil, 10)
