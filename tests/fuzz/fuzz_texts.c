/* Small texts; the first byte says which: who holds a lock, a checkpoint's state, a search's space,
 * a list of numbers, a way to cut documents. */
#include "../../src/cmd/prepare.h"
#include "base/err.h"
#include "base/mem.h"
#include "fuzz.h"
#include "study/list.h"
#include "study/space.h"
#include "train/holder.h"
#include "train/state.h"

#include <math.h>
#include <string.h>

static void try_holder(const char *text)
{
    struct holder h, again, me = {.host = "here", .pid = 1, .job = "-"};
    char line[256];
    if (!holder_parse(text, &h))
        return;
    MUST(holder_text(&h, line, sizeof line) < (int)sizeof line);
    MUST(holder_parse(line, &again) && holder_same(&h, &again));
    holder_is_gone(&h, &me);
}

static void try_state(const char *text)
{
    double a[3] = {0}, b = 0;
    static struct config c;
    struct state s = {0};
    char *printed;
    MUST(state_add(&s, "spike.loss", a, 3) == OK && state_add(&s, "watch.x", &b, 1) == OK);
    state_same(text, "spike.loss 0 0 0\n", &c);
    if (state_take(&s, text, "text") != OK)
        return;
    MUST(state_text(&s, &printed) == OK);
    MUST(state_take(&s, printed, "printed") == OK);
    mem_free(printed);
}

static void try_space(const char *text)
{
    static struct space s;
    double u[SPACE_MAX_AXES], point[SPACE_MAX_AXES], again[SPACE_MAX_AXES];
    struct trial_plan plan = {0};
    if (space_parse(&s, text) != OK)
        return;
    for (int i = 0; i < s.n; i++)
        u[i] = 0.3;
    space_at(&s, u, point);
    MUST(space_write(&s, point, &plan) == OK);
    MUST(space_read(&s, &plan, again));
    for (int i = 0; i < s.n; i++)
        MUST(isnan(point[i]) == isnan(again[i]));
    mem_free(plan.set);
    space_release(&s);
}

static void try_list(const char *text)
{
    double out[16];
    int n;
    if (study_list(out, &n, 16, "study.batches", text, 1, 1 << 24, true) != OK)
        return;
    for (int i = 1; i < n; i++)
        MUST(out[i - 1] < out[i]);
}

static void try_rule(const char *text)
{
    struct document_rule r;
    if (document_rule_parse(&r, text))
        MUST(r.kind != DOCUMENT_BYTES || r.bytes > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static void (*const tries[])(const char *text) = {try_holder, try_state, try_space, try_list,
                                                      try_rule};
    if (n > 0 && data[0] >= '0' && data[0] < '0' + (int)(sizeof tries / sizeof *tries))
        tries[data[0] - '0'](fuzz_text(data + 1, n - 1));
    err_clear();
    return 0;
}
