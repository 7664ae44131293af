/* What differs between compilers and systems, and nothing else. */
#ifndef GDFAST_PORTABLE_H
#define GDFAST_PORTABLE_H

#include <stdint.h>

#if defined(_MSC_VER)
#include <intrin.h>
#include <process.h>
#define gdfast_process_id() ((long)_getpid())
#else
#include <unistd.h>
#define gdfast_process_id() ((long)getpid())
#endif

/* Put a value into a flag that is zero, or another that is given, and return what it was, as one action for all threads; and make
 * it zero again. Read and write a number without a lock: who sees it sees all that was written before. */
#if defined(_MSC_VER)
#define gdfast_replace(flag, old, value) _InterlockedCompareExchange((flag), (value), (old))
#define gdfast_unlock(flag) ((void)_InterlockedExchange((flag), 0))
#define gdfast_peek(place) (*(const volatile uintptr_t *)(place))
#define gdfast_show(place, value) (*(volatile uintptr_t *)(place) = (value))
#else
#define gdfast_replace(flag, old, value) __sync_val_compare_and_swap((flag), (old), (value))
#define gdfast_unlock(flag) __atomic_store_n((flag), 0L, __ATOMIC_RELEASE)
#define gdfast_peek(place) __atomic_load_n((place), __ATOMIC_ACQUIRE)
#define gdfast_show(place, value) __atomic_store_n((place), (value), __ATOMIC_RELEASE)
#endif

#define gdfast_lock(flag, value) gdfast_replace((flag), 0L, (value))

/* A hint only: a compiler without it loses some speed from memory, nothing else. */
#if defined(__GNUC__) || defined(__clang__)
#define gdfast_prefetch_read(address) __builtin_prefetch((address), 0, 3)
#define gdfast_prefetch_write(address) __builtin_prefetch((address), 1, 3)
#elif defined(_M_X64)
#define gdfast_prefetch_read(address) _mm_prefetch((const char *)(address), _MM_HINT_T0)
#define gdfast_prefetch_write(address) _mm_prefetch((const char *)(address), _MM_HINT_T0)
#else
#define gdfast_prefetch_read(address) ((void)(address))
#define gdfast_prefetch_write(address) ((void)(address))
#endif

/* OpenMP's limit where the build found it; one thread elsewhere. */
#ifdef _OPENMP
#include <omp.h>
#define GDFAST_OPENMP 1
#define gdfast_openmp_threads() omp_get_max_threads()
#else
#define GDFAST_OPENMP 0
#define gdfast_openmp_threads() 1
#endif

#if defined(__clang__)
#define GDFAST_COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define GDFAST_COMPILER "gcc " __VERSION__
#elif defined(_MSC_VER)
#define GDFAST_COMPILER "msvc"
#else
#define GDFAST_COMPILER "unknown"
#endif

/* The best x86-64 level that both the CPU and the operating system support: 4, 3 or 1; 0 on other machines.
 * By features, never by vendor. The compilers' own runtime asks XGETBV for the operating system's part. */
static inline int gdfast_cpu_level(void)
{
#if (defined(__GNUC__) || defined(__clang__)) && defined(__x86_64__)
    __builtin_cpu_init();
    if (!(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi")
          && __builtin_cpu_supports("bmi2")))
        return 1;
    if (!(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
          && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq")
          && __builtin_cpu_supports("avx512vl")))
        return 3;
    return 4;
#elif defined(_MSC_VER) && defined(_M_X64)
    const int avx2_bits = (1 << 3) | (1 << 5) | (1 << 8);                                   /* bmi, avx2, bmi2 */
    const int avx512_bits = (1 << 16) | (1 << 17) | (1 << 28) | (1 << 30) | (int)(1u << 31); /* f, dq, cd, bw, vl */
    int leaf[4];
    unsigned __int64 enabled;
    __cpuid(leaf, 1);
    if (!(leaf[2] & (1 << 27)) || !(leaf[2] & (1 << 12)))                                   /* osxsave, fma */
        return 1;
    enabled = _xgetbv(0);
    __cpuidex(leaf, 7, 0);
    if ((enabled & 0x6) != 0x6 || (leaf[1] & avx2_bits) != avx2_bits)
        return 1;
    if ((enabled & 0xe6) != 0xe6 || (leaf[1] & avx512_bits) != avx512_bits)
        return 3;
    return 4;
#elif defined(__x86_64__) || defined(_M_X64)
    return 1;
#else
    return 0;
#endif
}

#endif
