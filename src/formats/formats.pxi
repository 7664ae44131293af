# The table of formats for the engine: addresses of what decodes a tile, of what encodes it, and of what sets the scales of its
# blocks before that, if there are any (formats.h).

from rules.kernel cimport FORMAT_BLOCK, decoder, encoder, measurer, randomizer

cdef extern from "formats/formats.h":
    enum:
        GDFAST_BLOCK
    void gdfast_random(unsigned int*, unsigned int, Py_ssize_t, Py_ssize_t) noexcept nogil
    void gdfast_decode_bfloat16(float*, const void*, const unsigned char*, Py_ssize_t) noexcept nogil
    void gdfast_decode_float16(float*, const void*, const unsigned char*, Py_ssize_t) noexcept nogil
    void gdfast_decode_signed(float*, const void*, const unsigned char*, Py_ssize_t) noexcept nogil
    void gdfast_decode_non_negative(float*, const void*, const unsigned char*, Py_ssize_t) noexcept nogil
    void gdfast_decode_split(float*, const void*, const unsigned char*, Py_ssize_t) noexcept nogil
    void gdfast_measure_signed(unsigned char*, const float*, Py_ssize_t) noexcept nogil
    void gdfast_measure_non_negative(unsigned char*, const float*, Py_ssize_t) noexcept nogil
    void gdfast_encode_bfloat16(
        void*, unsigned char*, const float*, const unsigned int*, int, Py_ssize_t) noexcept nogil
    void gdfast_encode_bfloat16_nearest(
        void*, unsigned char*, const float*, const unsigned int*, int, Py_ssize_t) noexcept nogil
    void gdfast_encode_float16(
        void*, unsigned char*, const float*, const unsigned int*, int, Py_ssize_t) noexcept nogil
    void gdfast_encode_signed(
        void*, unsigned char*, const float*, const unsigned int*, int, Py_ssize_t) noexcept nogil
    void gdfast_encode_non_negative(
        void*, unsigned char*, const float*, const unsigned int*, int, Py_ssize_t) noexcept nogil
    void gdfast_encode_split(
        void*, unsigned char*, const float*, const unsigned int*, int, Py_ssize_t) noexcept nogil

# format -> what decodes it, what encodes it, what sets the scales
FORMATS = {
    "bfloat16": (<uintptr_t><decoder>gdfast_decode_bfloat16, <uintptr_t><encoder>gdfast_encode_bfloat16, 0),
    "bfloat16_nearest": (<uintptr_t><decoder>gdfast_decode_bfloat16, <uintptr_t><encoder>gdfast_encode_bfloat16_nearest, 0),
    "float16": (<uintptr_t><decoder>gdfast_decode_float16, <uintptr_t><encoder>gdfast_encode_float16, 0),
    "8bit_signed": (
        <uintptr_t><decoder>gdfast_decode_signed, <uintptr_t><encoder>gdfast_encode_signed,
        <uintptr_t><measurer>gdfast_measure_signed,
    ),
    "8bit_non_negative": (
        <uintptr_t><decoder>gdfast_decode_non_negative, <uintptr_t><encoder>gdfast_encode_non_negative,
        <uintptr_t><measurer>gdfast_measure_non_negative,
    ),
    "split": (<uintptr_t><decoder>gdfast_decode_split, <uintptr_t><encoder>gdfast_encode_split, 0),
}
RANDOM = <uintptr_t><randomizer>gdfast_random
if FORMAT_BLOCK != GDFAST_BLOCK:
    raise ImportError("FORMAT_BLOCK must be GDFAST_BLOCK")
