/* What the callers of oneDNN share. Without the library, HAVE_DNNL is not defined. */
#ifndef CARAT_KERN_ONEDNN_H
#define CARAT_KERN_ONEDNN_H

#include <stdbool.h>

#ifdef HAVE_DNNL
#include <oneapi/dnnl/dnnl.h>

/* Instruction sets as bits of the library's numbers: a set contains those it builds on. */
static inline bool onednn_has(dnnl_cpu_isa_t isa)
{
    return ((unsigned)dnnl_get_effective_cpu_isa() & (unsigned)isa) == (unsigned)isa;
}
#endif

#endif
