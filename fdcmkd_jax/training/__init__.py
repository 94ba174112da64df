"""Training: state, steps, devices, checkpoints, evaluation, and the loop around them."""
