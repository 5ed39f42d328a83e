/* The instruction set that this process's kernels use.
 *
 * A portable build for x86-64 holds the hot files once for each of several instruction sets; before
 * main the best that the processor and its system know is chosen. CARAT_ISA=baseline|v3|v4 in the
 * environment chooses a lesser one, for tests; a wrong name, or more than the processor knows, ends
 * the program with status 78. A build for one ARCH, or another architecture, holds one.
 * Results depend on it: each set has its own widths and multiply-adds. */
#ifndef CARAT_BASE_ISA_H
#define CARAT_BASE_ISA_H

/* "x86-64-v4, bf16"; a static string. */
const char *isa_name(void);

#endif
