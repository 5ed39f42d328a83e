#include "results.h"

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "conf/value.h"

#include <math.h>

static void add_cell(struct str *out, const struct column *c, const struct trial *t)
{
    char number[40];
    if (c->is_setting || c->cell == CELL_TEXT)
        str_add_csv(out, column_text(c, t));
    else if (c->cell == CELL_COUNT)
        str_addf(out, "%d", column_count(c, t));
    else if (!isnan(column_number(c, t)))
        str_add(out, f64_text(column_number(c, t), number, sizeof number));
}

static void add_table(struct str *out, const struct history *h, const struct column *c, int n)
{
    for (int k = 0; k < n; k++)
        str_addf(out, "%s%s", k > 0 ? "," : "", c[k].name);
    str_add(out, "\n");
    for (int i = 0; i < h->n; i++)
        for (int k = 0; k < n; k++) {
            add_cell(out, &c[k], &h->trial[i]);
            str_add(out, k + 1 < n ? "," : "\n");
        }
}

int study_csv(struct str *out, const struct history *h)
{
    struct column *columns;
    int n;
    TRY(results_columns(&columns, &n, h));
    add_table(out, h, columns, n);
    mem_free(columns);
    return OK;
}

int results_write_csv(const char *path, const struct history *h, const struct column *c, int n)
{
    struct str out = {0};
    add_table(&out, h, c, n);
    int rc = fs_write_file(path, out.s, out.len);
    str_release(&out);
    return rc;
}
