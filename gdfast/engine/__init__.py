"""Carrying out a step: the native engine and the `numpy` engine, norms, threads, compiled modules.

It uses `gdfast.arrays` and `gdfast.reference`.
"""
