#include "facts_parts.h"

#include "base/err.h"
#include "base/mem.h"
#include "conf/config_table.h"

#include <stdio.h>
#include <string.h>

void facts_release(struct facts *f)
{
    for (int i = 0; i < f->n; i++)
        mem_free(f->row[i].cell);
    mem_free(f->row);
    *f = (struct facts){0};
}

int facts_next_row(struct facts *f, const char *label)
{
    if (f->n == f->room) {
        struct fact *more;
        int room = f->room > 0 ? 2 * f->room : 32;
        TRY(mem_alloc(&more, (size_t)room, sizeof *more, "a table of facts"));
        if (f->n > 0)
            memcpy(more, f->row, (size_t)f->n * sizeof *more);
        mem_free(f->row);
        f->row = more;
        f->room = room;
    }
    struct fact *row = &f->row[f->n];
    snprintf(row->label, sizeof row->label, "%s", label);
    return mem_alloc(&row->cell, (size_t)f->n_runs, sizeof *row->cell, "a row of facts");
}

static bool is_same(const struct facts *f)
{
    const struct fact *row = &f->row[f->n];
    for (int i = 1; i < f->n_runs; i++)
        if (strcmp(row->cell[i], row->cell[0]) != 0)
            return false;
    return true;
}

void facts_keep_row(struct facts *f, bool wanted)
{
    struct fact *row = &f->row[f->n];
    row->same = is_same(f);
    if (wanted)
        f->n++;
    else
        MEM_FREE(row->cell);
}

bool facts_any_cell(const struct facts *f)
{
    for (int i = 0; i < f->n_runs; i++)
        if (f->row[f->n].cell[i][0] != '\0')
            return true;
    return false;
}

int facts_fill(struct facts *f, const struct fact_maker *maker, int n_makers,
               const struct report_run *runs, int n)
{
    *f = (struct facts){.n_runs = n};
    for (int k = 0; k < n_makers; k++) {
        int rc = facts_next_row(f, maker[k].label);
        if (rc != OK) {
            facts_release(f);
            return rc;
        }
        for (int i = 0; i < n; i++)
            maker[k].make(&runs[i], f->row[f->n].cell[i], FACT_CELL);
        facts_keep_row(f, facts_any_cell(f));
    }
    return OK;
}

/* ---- differences ---- */

/* Two runs have two folders. */
static bool is_told_elsewhere(const struct conf_key *k)
{
    return strcmp(k->name, "run.dir") == 0;
}

static void show_value(char *cell, const struct conf_key *k, const struct report_run *r)
{
    char text[CONF_STR + 64];
    if (!r->has_conf)
        return;
    conf_value_text(k, &r->conf, text, sizeof text);
    snprintf(cell, FACT_CELL, "%.*s", FACT_CELL - 1, text[0] != '\0' ? text : "(empty)");
}

static int add_difference(struct facts *f, const struct conf_key *k, const struct report_run *runs)
{
    TRY(facts_next_row(f, k->name));
    for (int i = 0; i < f->n_runs; i++)
        show_value(f->row[f->n].cell[i], k, &runs[i]);
    facts_keep_row(f, !is_same(f));
    return OK;
}

int facts_differences(struct facts *f, const struct report_run *runs, int n)
{
    *f = (struct facts){.n_runs = n};
    for (int i = 0; n > 1 && i < CONF_N_KEYS; i++) {
        int rc = is_told_elsewhere(&CONF_KEYS[i]) ? OK : add_difference(f, &CONF_KEYS[i], runs);
        if (rc != OK) {
            facts_release(f);
            return rc;
        }
    }
    return OK;
}
