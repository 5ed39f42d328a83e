/* The loss: softmax cross-entropy over rows of logits, with Gemma 2's final soft cap.
 * Source: Gemma Team 2024 (Gemma 2), section 2, logit soft-capping. */
#ifndef CARAT_KERN_SOFTMAX_CE_H
#define CARAT_KERN_SOFTMAX_CE_H

#include "base/half.h"

/* z ← cap·tanh(z/cap), in place, n values; nothing when cap is 0. */
void softcap(float *z, size_t n, float cap);

/* What training has beside the cross-entropy; zeros: nothing. Label smoothing: a target's share ε
 * is spread evenly over the vocabulary (Szegedy et al. 2016, section 7). z-loss: z·log²Z, Z the
 * softmax's sum (Chowdhery et al. 2022, section 5). */
struct ce_terms {
    float smoothing, z;
};

/* For each of n rows: loss[i] = -log softmax(capped logits)[target[i]], in nats, correct[i] = 1
 * when the target has the greatest logit (lowest index wins a tie), may be NULL; and where grad is
 * not NULL grad[n,V] = weight[i] · d loss[i] / d (uncapped logits) in its own type, weight NULL:
 * all 1. The gradient is that of loss and `also`; the loss is the cross-entropy alone, so that
 * runs with and without can be compared.
 * logits[n,V] uncapped, rows ldz floats apart; they are left alone when grad is NULL, otherwise
 * used up. grad may be logits' own storage where ldg elements of it take no more bytes than ldz
 * floats: a row is then written over the place of its own or an earlier row. Targets outside 0 …
 * V-1 are the caller's bug. */
void softmax_ce(float *loss, uint8_t *correct, void *grad, enum dtype tg, size_t ldg, float *logits,
                size_t ldz, const int32_t *target, const float *weight, size_t n, size_t V,
                float cap, struct ce_terms also);

#endif
