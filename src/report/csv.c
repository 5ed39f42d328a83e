#include "report/term.h"

#include "base/str.h"

#include <math.h>

static void put_field(FILE *out, const char *text)
{
    struct str field = {0};
    str_add_csv(&field, text);
    fputs(field.len > 0 ? field.s : "", out);
    str_release(&field);
}

static void put_row(FILE *out, const double row[M_N])
{
    for (int k = 0; k < M_N; k++) {
        if (k > 0)
            putc(',', out);
        if (!isnan(row[k]))
            fprintf(out, "%.17g", row[k]);
    }
    putc('\n', out);
}

void csv_write(FILE *out, const struct report_run *runs, int n)
{
    fputs(n > 1 ? "run," : "", out);
    for (int k = 0; k < M_N; k++)
        fprintf(out, "%s%s", k > 0 ? "," : "", METRIC_COLUMNS[k].name);
    putc('\n', out);
    for (int i = 0; i < n; i++)
        for (int64_t row = 0; row < runs[i].n; row++) {
            if (n > 1) {
                put_field(out, runs[i].name);
                putc(',', out);
            }
            put_row(out, runs[i].rows + row * M_N);
        }
}
