scenario {
  sentence = "All hosts load the policy again, within 10 s",
  look = "nothing: no connection less, hardly one opened, no error",
  seconds = 300,
}

at(fleet.seconds * 0.5).reload(1, nil, 10)
