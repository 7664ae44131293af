"""The user's arrays: nested structures, the checks made before binding, row-sparse gradients, storage of state.

It uses no other room: it is the lowest.
"""
