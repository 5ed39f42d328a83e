#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "prepare.h"

#include <stdio.h>

#define SHOW_EVERY_S 0.25

void progress_begin(struct progress *p, const char *what, int64_t total)
{
    double now = clock_now_s();
    *p = (struct progress){.what = what, .total = total, .started_s = now, .shown_s = now};
}

void progress_show(struct progress *p, int64_t bytes, uint64_t n_tokens)
{
    double now = clock_now_s(), elapsed = now - p->started_s;
    if (now - p->shown_s < SHOW_EVERY_S || elapsed <= 0)
        return;
    p->shown_s = now;
    char left[48] = "", tokens[48] = "", part[32] = "", figure[24];
    double rate = (double)bytes / elapsed;
    if (p->total > 0)
        snprintf(part, sizeof part, " %3.0f%%", 100.0 * (double)bytes / (double)p->total);
    if (p->total > 0 && bytes > 0)
        snprintf(left, sizeof left, ", %s left",
                 fmt_duration(figure, sizeof figure, (double)(p->total - bytes) / rate));
    if (n_tokens > 0)
        snprintf(tokens, sizeof tokens, ", %s tokens/s",
                 fmt_si(figure, sizeof figure, (double)n_tokens / elapsed));
    log_status("%s:%s  %s read, %.1f MB/s%s%s", p->what, part,
               fmt_bytes(figure, sizeof figure, (double)bytes), rate / 1e6, tokens, left);
}
