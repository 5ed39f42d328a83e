#include "kern/embed.h"

void embed_fwd(float *restrict x, const float *restrict table, const int32_t *restrict token,
               size_t n, size_t D, float scale)
{
    for (size_t i = 0; i < n; i++) {
        const float *row = table + (size_t)token[i] * D;
        for (size_t j = 0; j < D; j++)
            x[i * D + j] = row[j] * scale;
    }
}

void embed_bwd(float *restrict dtable, const float *restrict dx, const int32_t *restrict token,
               size_t n, size_t D, float scale)
{
    for (size_t i = 0; i < n; i++) {
        float *row = dtable + (size_t)token[i] * D;
        for (size_t j = 0; j < D; j++)
            row[j] += dx[i * D + j] * scale;
    }
}
