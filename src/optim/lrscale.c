#include "optim/lrscale.h"

#include "base/err.h"
#include "optim/names.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static double none(double kappa)
{
    (void)kappa;
    return 1;
}

static double linear(double kappa)
{
    return kappa;
}

/* In the formulas, "lr" and "κ" are replaced by their values for the derivation. */
static const struct lrscale_rule rules[] = {
    {"none", none, "lr", "the rate stays as tuned, whatever the batch"},
    {"linear", linear, "lr · κ", "Goyal et al. 2017; for SGD, while the batch is small"},
    {"sqrt", sqrt, "lr · sqrt(κ)", "Malladi et al. 2022; for Adam, while the batch is small"},
};

enum { N_RULES = sizeof rules / sizeof rules[0] };

const struct lrscale_rule *lrscale_row(int i)
{
    return i >= 0 && i < N_RULES ? &rules[i] : NULL;
}

int lrscale_find(const struct lrscale_rule **rule, const char *name)
{
    const char *names[N_RULES];
    int at;
    for (int i = 0; i < N_RULES; i++)
        names[i] = rules[i].name;
    TRY(names_find(&at, "scaling rule", name, names, N_RULES));
    *rule = &rules[at];
    return OK;
}

static bool begins(const char *s, const char *with)
{
    return strncmp(s, with, strlen(with)) == 0;
}

/* The formula with its values in place of its letters. */
static void add_formula(struct str *text, const char *formula, double lr, double kappa)
{
    for (const char *at = formula; *at != '\0';) {
        if (begins(at, "lr")) {
            str_addf(text, "%.3e", lr);
            at += strlen("lr");
        } else if (begins(at, "κ")) {
            str_addf(text, "%.2f", kappa);
            at += strlen("κ");
        } else {
            str_addn(text, at++, 1);
        }
    }
}

/* The source of a note: what comes before its first semicolon. */
static void add_source(struct str *text, const char *note)
{
    str_add(text, "   (");
    str_addn(text, note, strcspn(note, ";"));
    str_add(text, ")\n");
}

static void derive(struct str *text, const struct lrscale_rule *rule, double lr, double base_batch,
                   double batch, double peak)
{
    char head[32];
    str_addf(text, "learning rate   %.3e tuned at %.15g sequences\n", lr, base_batch);
    str_addf(text, "this batch      %.15g sequences = %.2f × the base\n", batch,
             batch / base_batch);
    snprintf(head, sizeof head, "%s rule", rule->name);
    str_addf(text, "%-15s ", head);
    add_formula(text, rule->formula, lr, batch / base_batch);
    if (strcmp(rule->formula, "lr") != 0)
        str_addf(text, " = %.3e", peak);
    add_source(text, rule->note);
}

double lrscale_peak(const struct lrscale_rule *rule, double lr, double base_batch, double batch,
                    struct str *text)
{
    double peak = lr * rule->factor(batch / base_batch);
    if (text != NULL)
        derive(text, rule, lr, base_batch, batch, peak);
    return peak;
}
