"""What the user gave: nested structures of arrays, the checks of binding, row-sparse gradients, where state lies.

It uses no other room: it is the lowest.
"""
