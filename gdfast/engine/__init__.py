"""What carries a step out: the native engine and the `numpy` one, norms, threads, compiled modules.

It uses `gdfast.arrays` and `gdfast.reference`.
"""
