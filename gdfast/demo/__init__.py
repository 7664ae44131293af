"""The first training run: a small network in plain NumPy learns to read digits, and gdfast takes the steps.

`network` is the network, `data` the digits, `settings` what can be chosen, `training` the loop, `picture` the curves,
and `run` trains with both engines and compares them. `data`, `training`, `picture` and `run` need ``gdfast[demo]``.
"""
