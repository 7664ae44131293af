"""Around a training loop: the learning-rate finder, and what watches a loop (`gdfast.callbacks`).

It uses optimizers, checkpoints and plots.
"""
