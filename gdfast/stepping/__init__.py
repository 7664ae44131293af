"""The base class of every optimizer: hyperparameters, groups, flattened gradients, the numbers of a step, the step.

It uses `gdfast.engine` and the rooms below, and no particular optimizer.
"""
