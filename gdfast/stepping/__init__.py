"""What every optimizer inherits, in the order of a step: hyperparameters, groups, layout, checks, numbers, one call.

It uses `gdfast.engine` and the rooms below; it knows no optimizer by name.
"""
