#include "ref/ref.h"

#include <math.h>
#include <stdlib.h>

void ref_gemm(double *c, const double *a, const double *b, size_t m, size_t n, size_t k, bool ta,
              bool tb, double alpha, double beta)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = 0.0;
            for (size_t l = 0; l < k; l++)
                sum += (ta ? a[l * m + i] : a[i * k + l]) * (tb ? b[j * k + l] : b[l * n + j]);
            c[i * n + j] = alpha * sum + (beta == 0.0 ? 0.0 : beta * c[i * n + j]);
        }
}

void ref_embed_fwd(double *x, const double *table, const int32_t *token, size_t n, size_t D,
                   double scale)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < D; j++)
            x[i * D + j] = table[(size_t)token[i] * D + j] * scale;
}

void ref_embed_bwd(double *dtable, const double *dx, const int32_t *token, size_t n, size_t D,
                   double scale)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < D; j++)
            dtable[(size_t)token[i] * D + j] += dx[i * D + j] * scale;
}

static double rstd_of(const double *x, size_t d, double eps)
{
    double sum = 0.0;
    for (size_t j = 0; j < d; j++)
        sum += x[j] * x[j];
    return 1.0 / sqrt(sum / (double)d + eps);
}

void ref_rmsnorm_fwd(double *y, double *rstd, const double *x, const double *w, size_t n, size_t d,
                     double eps)
{
    for (size_t i = 0; i < n; i++) {
        rstd[i] = rstd_of(x + i * d, d, eps);
        for (size_t j = 0; j < d; j++)
            y[i * d + j] = x[i * d + j] * rstd[i] * (1.0 + w[j]);
    }
}

void ref_rmsnorm_bwd(double *dx, double *dw, const double *dy, const double *x, const double *w,
                     size_t n, size_t d, double eps)
{
    for (size_t i = 0; i < n; i++) {
        const double *xi = x + i * d, *gi = dy + i * d;
        double r = rstd_of(xi, d, eps), dr = 0.0; /* dr: gradient of r */
        for (size_t j = 0; j < d; j++) {
            dr += gi[j] * (1.0 + w[j]) * xi[j];
            dw[j] += gi[j] * xi[j] * r;
        }
        for (size_t j = 0; j < d; j++) /* dr/dx = -r³·x/d */
            dx[i * d + j] = gi[j] * (1.0 + w[j]) * r - dr * r * r * r * xi[j] / (double)d;
    }
}

void ref_rope(double *x, size_t B, size_t T, size_t first, size_t n_heads, size_t Hd, double base,
              double factor, int direction)
{
    size_t half = Hd / 2;
    for (size_t row = 0; row < B * T; row++)
        for (size_t h = 0; h < n_heads; h++)
            for (size_t i = 0; i < half; i++) {
                double p = (double)(row % T + first);
                double angle = p / (pow(base, 2.0 * (double)i / (double)Hd) * factor) * direction;
                double *v = x + (row * n_heads + h) * Hd + i, a = v[0], b = v[half];
                v[0] = a * cos(angle) - b * sin(angle);
                v[half] = b * cos(angle) + a * sin(angle);
            }
}

/* The tanh form as it is defined; *slope its derivative. */
static double gelu(double x, double *slope)
{
    double k = sqrt(2.0 / M_PI), u = k * (x + 0.044715 * x * x * x), th = tanh(u);
    *slope = 0.5 * (1.0 + th) + 0.5 * x * (1.0 - th * th) * k * (1.0 + 3.0 * 0.044715 * x * x);
    return 0.5 * x * (1.0 + th);
}

void ref_geglu_fwd(double *h, const double *gu, size_t n, size_t F)
{
    double slope;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < F; j++)
            h[i * F + j] = gelu(gu[i * 2 * F + j], &slope) * gu[i * 2 * F + F + j];
}

void ref_geglu_bwd(double *dgu, const double *dh, const double *gu, size_t n, size_t F)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < F; j++) {
            size_t gate = i * 2 * F + j, up = gate + F;
            double slope, y = gelu(gu[gate], &slope), g = dh[i * F + j];
            dgu[gate] = g * gu[up] * slope;
            dgu[up] = g * y;
        }
}

/* What the loss has beside the cross-entropy of capped logits z[V] with log Z = lse. */
static double ce_extra(const double *z, double lse, size_t V, size_t target, struct ce_terms also)
{
    double sum = 0.0;
    for (size_t j = 0; j < V; j++)
        sum += z[target] - z[j];
    return (double)also.smoothing * sum / (double)V + (double)also.z * lse * lse;
}

void ref_softmax_ce(double *loss, double *extra, uint8_t *correct, double *grad,
                    const double *logits, const int32_t *target, const double *weight, size_t n,
                    size_t V, double cap, struct ce_terms also)
{
    double *z = ref_doubles(V), smoothing = (double)also.smoothing;
    for (size_t i = 0; i < n; i++) {
        size_t t = (size_t)target[i], best = 0;
        double sum = 0.0, w = weight ? weight[i] : 1.0;
        for (size_t j = 0; j < V; j++) {
            double x = logits[i * V + j];
            z[j] = cap != 0.0 ? cap * tanh(x / cap) : x;
            if (z[j] > z[best])
                best = j;
        }
        for (size_t j = 0; j < V; j++)
            sum += exp(z[j] - z[best]);
        double lse = z[best] + log(sum);
        loss[i] = lse - z[t];
        if (extra)
            extra[i] = ce_extra(z, lse, V, t, also);
        if (correct)
            correct[i] = best == t;
        for (size_t j = 0; grad && j < V; j++) {
            double slope = cap != 0.0 ? 1.0 - z[j] / cap * (z[j] / cap) : 1.0;
            double p = exp(z[j] - z[best]) / sum * (1.0 + 2.0 * (double)also.z * lse);
            double want = smoothing / (double)V + (j == t ? 1.0 - smoothing : 0.0);
            grad[i * V + j] = w * (p - want) * slope;
        }
    }
    free(z);
}
