/* Compares the model with reference folders: fixture_check FOLDER…
 * Exit 0: all quantities within their tolerances; 1: some beyond; 65: a folder is malformed. */
#include "base/err.h"
#include "ref/fixture.h"

#include <stdio.h>

struct tally {
    int n_rows, n_beyond;
};

static void print_row(void *ctx, const char *quantity, const char *where, double error,
                      double tolerance)
{
    struct tally *t = ctx;
    bool fine = error <= tolerance;
    t->n_rows++;
    t->n_beyond += !fine;
    printf("  %-36s error %.3e  tolerance %.1e  %s%s%s\n", quantity, error, tolerance,
           fine ? "ok" : "BEYOND", where[0] != '\0' ? "  worst: " : "", where);
}

static int check_folder(const char *folder, struct tally *t)
{
    struct fixture f;
    TRY(fixture_load(&f, folder));
    printf("%s: Gemma %d, %d layers, width %d, vocabulary %d, %zu parameters, batch %d x %d\n",
           folder, f.spec.family, f.spec.L, f.spec.D, f.spec.V, f.table.n_params, f.batch.B,
           f.batch.T);
    int rc = fixture_compare(&f, print_row, t);
    fixture_release(&f);
    return rc;
}

int main(int argc, char **argv)
{
    struct tally t = {0};
    int n_bad = 0;
    if (argc < 2) {
        fprintf(stderr, "usage: fixture_check FOLDER...\n");
        return E_USAGE;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++)
        if (check_folder(argv[i], &t) != OK) {
            fprintf(stderr, "fixture_check: %s\n", err_message());
            n_bad++;
        }
    printf("%d folders, %d quantities: %d beyond tolerance, %d folders malformed\n", argc - 1,
           t.n_rows, t.n_beyond, n_bad);
    if (n_bad > 0)
        return E_DATA;
    return t.n_beyond == 0 && t.n_rows > 0 ? 0 : 1;
}
