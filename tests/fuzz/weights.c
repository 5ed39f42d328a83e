#include "weights.h"

#include "base/err.h"
#include "fuzz.h"

#include <string.h>

static void read_row(const struct st *st, const struct st_row *row)
{
    float *out = malloc((size_t)row->n * sizeof *out + 1);
    MUST(out != NULL);
    int rc = st_read_f32(st, row, 0, row->n, out);
    MUST(rc == (row->dtype <= ST_BF16 ? OK : E_DATA));
    free(out);
}

void fuzz_weights(const struct st *st, uint64_t most)
{
    for (size_t i = 0; i < st->n_rows; i++) {
        const struct st_row *row = &st->rows[i];
        MUST(st_find(st, row->name) == row);
        MUST(i == 0 || strcmp(row[-1].name, row->name) < 0);
        MUST(row->n * st_dtype_bytes(row->dtype) <= most);
        MUST(row->shard < st->n_shards && row->offset > 8);
        read_row(st, row);
    }
}
