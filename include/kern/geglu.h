/* GeGLU with the tanh form of GELU: h = gelu_tanh(gate) · up.
 * Arithmetic is in float; BF16 inputs are widened as they are read, BF16 outputs rounded as they
 * are stored. Leading dimensions (ld…) are elements between rows; gaps are neither read nor
 * written. Source: Shazeer 2020 (GLU variants); Hendrycks and Gimpel 2016 (tanh form). */
#ifndef CARAT_KERN_GEGLU_H
#define CARAT_KERN_GEGLU_H

#include "base/half.h"

/* h[n,F] from gu[n,2F], each row gate then up (the fused product's output). */
void geglu_fwd(void *h, enum dtype th, size_t ldh, const void *gu, enum dtype tgu, size_t ldgu,
               size_t n, size_t F);
/* dgu[n,2F] (type and leading dimension of gu, may be gu) from dh[n,F] and the forward's gu. Also
 * writes h again when h is not NULL (type and leading dimension of dh, may be dh), with the
 * forward's bits, so that the forward need not keep it. */
void geglu_bwd(void *dgu, void *h, const void *dh, enum dtype th, size_t ldh, const void *gu,
               enum dtype tgu, size_t ldgu, size_t n, size_t F);

#endif
