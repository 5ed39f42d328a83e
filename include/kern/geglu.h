/* GeGLU with the tanh form of GELU: h = gelu_tanh(gate) · up.
 * Source: Shazeer 2020 (GLU variants); Hendrycks and Gimpel 2016 (tanh form). */
#ifndef CARAT_KERN_GEGLU_H
#define CARAT_KERN_GEGLU_H

#include <stddef.h>

/* h[n,F] from gu[n,2F], each row gate then up (the fused product's output). */
void geglu_fwd(float *h, const float *gu, size_t n, size_t F);
/* dgu[n,2F] from dh[n,F] and the forward's gu; dgu may be gu. Also writes h again when h is not
 * NULL, so that the forward need not keep it. h may be dh's own storage (dh is read first). */
void geglu_bwd(float *dgu, float *h, const float *dh, const float *gu, size_t n, size_t F);

#endif
