"""Training: objective, optimizer, step, loop, checkpoints and evaluation, of any network on any data set."""
