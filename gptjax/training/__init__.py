"""State in, state out: loss, optimizers, the step, checkpoints and the loop."""
