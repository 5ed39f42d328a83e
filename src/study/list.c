#include "study/list.h"

#include "base/err.h"
#include "base/str.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double MOST_BATCH = 1 << 24;

static int by_size(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static int take(double *v, const char *key, const char *word, double low, double high, bool whole)
{
    if (!parse_f64(word, v) || *v < low || *v > high || (whole && *v != floor(*v)))
        return ERR(E_CONFIG, "%s: \"%s\" is no %snumber from %.10g to %.10g", key, word,
                   whole ? "whole " : "", low, high);
    return OK;
}

int study_list(double *out, int *n, int most, const char *key, const char *text, double low,
               double high, bool whole)
{
    *n = 0;
    for (const char *at = text + strspn(text, ", "); *at != '\0'; at += strspn(at, ", ")) {
        char word[64];
        size_t len = strcspn(at, ", ");
        if (*n == most)
            return ERR(E_CONFIG, "%s: more than %d numbers", key, most);
        snprintf(word, sizeof word, "%.*s", (int)len, at);
        TRY(take(&out[*n], key, word, low, high, whole));
        (*n)++;
        at += len;
    }
    qsort(out, (size_t)*n, sizeof *out, by_size);
    for (int i = 1; i < *n; i++)
        if (out[i] == out[i - 1])
            return ERR(E_CONFIG, "%s: %.10g is there twice", key, out[i]);
    return OK;
}

int study_batches(double *out, int *n, int most, const struct config *job)
{
    TRY(study_list(out, n, most, "study.batches", job->study.batches, 1, MOST_BATCH, true));
    for (int k = -2; k <= 2 && *job->study.batches == '\0'; k++) {
        double batch = ldexp((double)job->batch.global, k);
        if (batch == floor(batch) && batch >= (double)job->batch.micro && batch <= MOST_BATCH)
            out[(*n)++] = batch;
    }
    return OK;
}
