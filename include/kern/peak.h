/* The speed of the machine that figures are held against: of its processor, whatever the build was
 * made for. */
#ifndef CARAT_KERN_PEAK_H
#define CARAT_KERN_PEAK_H

/* Single-precision fused multiply-adds a second of one core, times two (FLOP/s), measured over
 * about `seconds` with independent register chains in the widest registers that this CPU has. */
double peak_fma_flops(double seconds);
/* The same of products of bfloat16 with sums in single precision (vdpbf16ps); 0 where this CPU has
 * no such instruction. A CPU with tiles (AMX) can do more than this says. */
double peak_bf16_flops(double seconds);
/* The instructions that peak_fma_flops uses here: "avx512", "avx2", "neon", "portable". */
const char *peak_isa(void);

/* Memory bandwidth of the calling core beyond the caches, the median of some passes over about
 * `seconds`: bytes read and written a second. Others that measure at once take their share. E_MEM.
 */
struct peak_memory {
    double copy;  /* memcpy: 2 bytes for each that is copied */
    double triad; /* a = b + s·c: 3 */
};
int peak_memory(struct peak_memory *out, double seconds);

#endif
