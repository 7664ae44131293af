"""The rules' native loops, as a table of addresses.

Design: this file is compiled once per instruction-set level, from the same source with other flags, into
`gdfast.engine._rules_<level>`; `gdfast.engine.isa` imports the best one that the machine supports. The loops are plain: one
element at a time, in the order of operations that docs/numerics.md gives, so that the compiler's vectors and the NumPy
reference round alike. No intrinsics, because the compiler already vectorises every loop to the width of its level; no
`restrict`, because its run-time test for overlap costs a few cycles a tile and the loop behind it is the same.
No threads here: the engine divides the work.
"""
include "rules/common.pxi"
include "rules/sgd.pxi"
include "rules/adaptive.pxi"
include "rules/adam.pxi"
include "rules/adam_variants.pxi"
include "rules/second_moment.pxi"
include "rules/mixed_momentum.pxi"
include "rules/dual_averaging.pxi"
include "rules/schedule_free.pxi"
include "rules/lookahead.pxi"
include "rules/sign.pxi"
include "rules/layerwise.pxi"
include "rules/average.pxi"
include "rules/norm.pxi"
include "rules/vector.pxi"
include "rules/limit.pxi"
include "formats/formats.pxi"
