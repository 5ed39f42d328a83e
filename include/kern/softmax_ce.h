/* The loss: softmax cross-entropy over rows of logits, with Gemma 2's final soft cap.
 * Source: Gemma Team 2024 (Gemma 2), section 2, logit soft-capping. */
#ifndef CARAT_KERN_SOFTMAX_CE_H
#define CARAT_KERN_SOFTMAX_CE_H

#include <stddef.h>
#include <stdint.h>

/* z ← cap·tanh(z/cap), in place, n values; nothing when cap is 0. */
void softcap(float *z, size_t n, float cap);

/* For each of n rows: loss[i] = -log softmax(capped logits)[target[i]], in nats, correct[i] = 1
 * when the target has the greatest logit (lowest index wins a tie), may be NULL. When grad is
 * non-zero logits are replaced by weight[i] · d loss[i] / d (uncapped logits); weight NULL: all 1.
 * logits[n,V] uncapped. Targets outside 0 … V-1 are the caller's bug. */
void softmax_ce(float *loss, uint8_t *correct, float *logits, const int32_t *target,
                const float *weight, size_t n, size_t V, float cap, int grad);

#endif
