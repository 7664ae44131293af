"""The user's arrays: nested structures, the checks made before binding, row-sparse gradients, storage of state.

The lowest room: it imports NumPy and no other part of the package.
"""
