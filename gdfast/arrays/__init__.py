"""What the user gave: nested structures of arrays, the checks of binding, row-sparse gradients, where state lies.

The lowest room: it uses NumPy and nothing of the package's.
"""
