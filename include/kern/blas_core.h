/* Which kernels of OpenBLAS suit which processors. A library that chooses at run time may not know
 * a newer processor, or be told otherwise, and then multiplies at half the speed or less. */
#ifndef CARAT_KERN_BLAS_CORE_H
#define CARAT_KERN_BLAS_CORE_H

/* The widest instructions for products in single precision, in order. */
enum simd { SIMD_UNKNOWN, SIMD_SSE, SIMD_AVX, SIMD_AVX2, SIMD_AVX512 };

/* What this processor and its system offer; SIMD_UNKNOWN on other architectures than x86-64. */
enum simd simd_of_cpu(void);
/* What a kernel (gemm_core()) uses; SIMD_UNKNOWN when the name is not known. */
enum simd simd_of_core(const char *core);
/* "AVX-512" */
const char *simd_name(enum simd s);

/* NULL when the kernel is as wide as the processor, or one of them is unknown; otherwise what to
 * do, given what OPENBLAS_CORETYPE holds (NULL: not set). */
const char *blas_core_fix(const char *core, enum simd cpu, const char *coretype);

#endif
