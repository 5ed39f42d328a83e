#include "train/state.h"

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "train/effect.h"

#include <stdlib.h>
#include <string.h>

static const struct state_row *find(const struct state *s, const char *name, size_t len)
{
    for (int i = 0; i < s->n; i++)
        if (strlen(s->row[i].name) == len && memcmp(s->row[i].name, name, len) == 0)
            return &s->row[i];
    return NULL;
}

int state_add(struct state *s, const char *name, double *v, int n)
{
    if (s->n == STATE_MAX_ROWS || find(s, name, strlen(name)) != NULL)
        return ERR(E_BUG, "the state has no room for a row \"%s\", or has one", name);
    s->row[s->n++] = (struct state_row){name, v, n};
    return OK;
}

int state_text(const struct state *s, char **text)
{
    struct str out = {0};
    str_add(&out, "");
    for (int i = 0; i < s->n; i++) {
        str_add(&out, s->row[i].name);
        for (int k = 0; k < s->row[i].n; k++)
            str_addf(&out, " %.17g", s->row[i].v[k]);
        str_add(&out, "\n");
    }
    int rc = mem_alloc(text, out.len + 1, 1, "state");
    if (rc == OK)
        memcpy(*text, out.s, out.len + 1);
    str_release(&out);
    return rc;
}

static const char *next_line(const char *at)
{
    const char *end = strchr(at, '\n');
    return end != NULL ? end + 1 : at + strlen(at);
}

static const char *next_that_counts(const char *at, const struct config *c)
{
    while (*at != '\0' && !effect_row_decides(at, strcspn(at, " \n"), c))
        at = next_line(at);
    return at;
}

bool state_same(const char *a, const char *b, const struct config *c)
{
    for (a = next_that_counts(a, c), b = next_that_counts(b, c); *a != '\0' && *b != '\0';) {
        size_t n = (size_t)(next_line(a) - a);
        if (strncmp(a, b, n) != 0)
            return false;
        a = next_that_counts(a + n, c);
        b = next_that_counts(next_line(b), c);
    }
    return *a == *b;
}

/* The numbers of one line, which ends at `end`. */
static int take_row(const struct state_row *row, const char *at, const char *end, const char *from)
{
    for (int k = 0; k < row->n; k++) {
        char *after;
        double v = strtod(at, &after);
        if (after == at || after > end)
            return ERR(E_DATA, "%s: state %s has %d numbers, not %d", from, row->name, k, row->n);
        row->v[k] = v;
        at = after;
    }
    return at == end
               ? OK
               : ERR(E_DATA, "%s: state %s has more numbers than %d", from, row->name, row->n);
}

int state_take(const struct state *s, const char *text, const char *from)
{
    while (*text != '\0') {
        size_t len = strcspn(text, " \n");
        const char *end = strchr(text, '\n');
        if (len == 0 || end == NULL)
            return ERR(E_DATA, "%s: a line of its state has no name or no end", from);
        const struct state_row *row = find(s, text, len);
        if (row != NULL)
            TRY(take_row(row, text + len, end, from));
        text = end + 1;
    }
    return OK;
}
