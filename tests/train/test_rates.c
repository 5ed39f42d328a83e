/* The keys under rates.* as factors of tensors, and what is refused. */
#include "base/err.h"
#include "base/mem.h"
#include "check_main.h"
#include "conf/config_file.h"
#include "train/optimizer.h"
#include "train/rates.h"

#include <math.h>
#include <string.h>

/* Products of a few factors. */
static const double ROUNDING = 1e-12;

enum { LAYERS = 6 };

static struct config conf;
static struct model_spec spec;
static struct tensor_table table;
static struct rates rates;

static void configure(const char *keys)
{
    struct conf_origins origins;
    char text[1024];
    snprintf(text, sizeof text,
             "run.dir: r\ndata.train: t\nmodel.preset: gemma3-nano\nbatch.global: 1\n"
             "train.steps: 1\n%s",
             keys);
    ck_assert_msg(conf_load_text(&conf, &origins, text, "test") == OK, "%s", err_message());
    ck_assert_int_eq(spec_preset(&spec, "gemma3-nano"), OK);
    ck_assert_int_eq(spec_set(&spec, "layers", LAYERS), OK);
    spec.mup_base = (int)conf.rates.mup_base;
    ck_assert_int_eq(tensors_init(&table, &spec), OK);
}

static void begin(const char *keys)
{
    configure(keys);
    ck_assert_msg(rates_init(&rates, &conf, &spec, &table) == OK, "%s", err_message());
}

static void end(void)
{
    rates_release(&rates);
    tensors_release(&table);
}

static int row_of(const char *name)
{
    const struct tensor *t = tensors_find(&table, name);
    ck_assert_msg(t != NULL, "%s", name);
    return (int)(t - table.row);
}

static double factor(const char *name)
{
    return rates.factor[row_of(name)];
}

static bool frozen(const char *name)
{
    return rates.frozen[row_of(name)];
}

#define EMBED           "model.embed_tokens.weight"
#define FINAL           "model.norm.weight"
#define OF(layer, what) "model.layers." #layer "." what ".weight"

START_TEST(nothing_set_is_one_for_all)
{
    begin("");
    for (int i = 0; i < table.n; i++)
        ck_assert(rates.factor[i] == 1 && rates.decay[i] == 1 && !rates.frozen[i]);
    struct str text = {0};
    rates_describe(&rates, &table, &text);
    ck_assert_ptr_null(text.s);
    end();
}
END_TEST

START_TEST(layers_decay_from_the_last)
{
    begin("rates.layer_decay: 0.5\n");
    ck_assert_double_eq(factor(FINAL), 1);
    ck_assert_double_eq(factor(OF(5, "mlp.up_proj")), 1);
    ck_assert_double_eq(factor(OF(4, "mlp.up_proj")), 0.5);
    ck_assert_double_eq(factor(OF(0, "input_layernorm")), 1.0 / 32);
    ck_assert_double_eq(factor(EMBED), 1.0 / 64);
    end();
}
END_TEST

START_TEST(factors_multiply)
{
    begin("rates.layer_decay: 0.5\nrates.layers: \"0-1:0.1, 4:3\"\nrates.embed: 0.2\n"
          "rates.norms: 0.3\nrates.tensors: \"*.mlp.*:5 model.layers.4.mlp.up*:7\"\n");
    ck_assert_double_eq_tol(factor(EMBED), 0.2 / 64, ROUNDING);
    ck_assert_double_eq_tol(factor(FINAL), 0.3, ROUNDING);
    ck_assert_double_eq_tol(factor(OF(1, "self_attn.q_proj")), 0.1 / 16, ROUNDING);
    ck_assert_double_eq_tol(factor(OF(1, "self_attn.q_norm")), 0.3 * 0.1 / 16, ROUNDING);
    ck_assert_double_eq_tol(factor(OF(2, "mlp.down_proj")), 5.0 / 8, ROUNDING);
    /* The last pattern that fits counts. */
    ck_assert_double_eq_tol(factor(OF(4, "mlp.up_proj")), 7.0 * 3 / 2, ROUNDING);
    ck_assert_double_eq_tol(factor(OF(4, "mlp.gate_proj")), 5.0 * 3 / 2, ROUNDING);
    end();
}
END_TEST

START_TEST(freezes_layers_patterns_and_the_embedding)
{
    begin("rates.freeze: \"embed 0-1, 4 *.q_norm.*\"\n");
    ck_assert(frozen(EMBED) && !frozen(FINAL));
    ck_assert(frozen(OF(0, "mlp.up_proj")) && frozen(OF(1, "input_layernorm")));
    ck_assert(!frozen(OF(2, "mlp.up_proj")) && frozen(OF(4, "mlp.up_proj")));
    ck_assert(frozen(OF(5, "self_attn.q_norm")) && !frozen(OF(5, "self_attn.k_norm")));
    end();
}
END_TEST

/* Rate times decay stays. */
START_TEST(mup_divides_hidden_matrices)
{
    begin("rates.mup_base: 32\n");
    double m = spec.D / 32.0;
    for (int i = 0; i < table.n; i++) {
        const struct tensor *t = &table.row[i];
        bool hidden = t->layer >= 0 && t->n_dims == 2;
        ck_assert_double_eq_tol(rates.factor[i], hidden ? 1 / m : 1, ROUNDING);
        ck_assert_double_eq_tol(rates.decay[i], hidden ? m : 1, ROUNDING);
        ck_assert_double_eq_tol(rates.factor[i] * rates.decay[i], 1, ROUNDING);
    }
    end();
}
END_TEST

START_TEST(groups_take_them)
{
    struct optim_group *groups;
    begin("rates.layer_decay: 0.9\nrates.freeze: 1\nrates.mup_base: 32\n");
    ck_assert_int_eq(optimizer_groups(&groups, &table), OK);
    rates_apply(&rates, groups);
    for (int i = 0; i < table.n; i++) {
        ck_assert_double_eq(groups[i].rate, rates.factor[i]);
        ck_assert_double_eq(groups[i].decay_factor, rates.decay[i]);
        ck_assert(groups[i].frozen == (table.row[i].layer == 1));
        ck_assert(groups[i].decay == table.row[i].decay);
    }
    mem_free(groups);
    end();
}
END_TEST

START_TEST(bad_keys_are_refused)
{
    static const char *const rows[][2] = {
        {"rates.layers: \"0-3:0.1 3-4:0.5\"", "rates.layers: layer 3 is in two ranges"},
        {"rates.layers: \"2:0.1 2:0.1\"", "rates.layers: layer 2 is in two ranges"},
        {"rates.layers: \"0-6:0.1\"",
         "rates.layers: 0-6 goes beyond the model, whose layers are 0 to 5"},
        {"rates.layers: \"3-1:0.1\"", "rates.layers: 3-1 runs backwards"},
        {"rates.layers: \"0-3\"", "rates.layers: \"0-3\" is not written FROM-TO:FACTOR"},
        {"rates.layers: \"0-3:fast\"", "rates.layers: in \"0-3:fast\" the factor is no number"},
        {"rates.layers: \"0-3:-1\"", "the factor is no number of 0 or more"},
        {"rates.layers: \"0-3:inf\"", "the factor is no number of 0 or more"},
        {"rates.layers: \"embed:0.1\"", "rates.layers: \"embed\" are no layers"},
        {"rates.layers: \"-1:0.1\"", "rates.layers: \"-1\" are no layers"},
        {"rates.layers: \":0.1\"", "rates.layers: \":0.1\" is not written"},
        {"rates.tensors: \"*.mpl.*:0.1\"", "rates.tensors: no tensor's name fits \"*.mpl.*\""},
        {"rates.tensors: \"*.mlp.*\"", "rates.tensors: \"*.mlp.*\" is not written PATTERN:FACTOR"},
        {"rates.freeze: \"0-9\"", "rates.freeze: 0-9 goes beyond the model"},
        {"rates.freeze: \"norms\"", "rates.freeze: no tensor's name fits \"norms\""},
        {"rates.freeze: \"*\"", "rates.freeze leaves nothing to train"},
        {"rates.mup_base: 32\noptimizer.name: sgd",
         "optimizer.name sgd grows with the gradient; take adamw, or leave rates.mup_base out"},
        {"rates.mup_base: 32\noptimizer.name: lamb", "optimizer.name lamb grows with the norm"},
        {"rates.mup_base: 32\noptimizer.name: lars", "optimizer.name lars grows with the norm"},
        {"rates.mup_base: 32\noptimizer.name: adafactor", "adafactor grows with the size"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct str text = {0};
        configure(rows[i][0]);
        ck_assert_msg(rates_plan(&conf, &spec, &text) == E_CONFIG, "%s", rows[i][0]);
        ck_assert_msg(strstr(err_message(), rows[i][1]) != NULL, "%s: %s", rows[i][0],
                      err_message());
        err_clear();
        tensors_release(&table);
        str_release(&text);
    }
}
END_TEST

START_TEST(describes_what_is_alike_in_one_line)
{
    struct str text = {0};
    configure("rates.freeze: \"embed 0-1 *.q_norm.*\"\nrates.layers: 2-3:0.5\nrates.norms: 0.25\n");
    ck_assert_int_eq(rates_plan(&conf, &spec, &text), OK);
    static const char *const lines[] = {
        "  embedding       frozen\n",
        "  layers 0-1      frozen\n",
        "  layers 2-3      matrices × 0.5  norms × 0.125  1 of 13 tensors frozen\n",
        "  layers 4-5      matrices × 1  norms × 0.25  1 of 13 tensors frozen\n",
        "  final norm      norms × 0.25\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        ck_assert_msg(strstr(text.s, lines[i]) != NULL, "no \"%s\" in\n%s", lines[i], text.s);
    tensors_release(&table);
    str_release(&text);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, nothing_set_is_one_for_all);
    tcase_add_test(t, layers_decay_from_the_last);
    tcase_add_test(t, factors_multiply);
    tcase_add_test(t, freezes_layers_patterns_and_the_embedding);
    tcase_add_test(t, mup_divides_hidden_matrices);
    tcase_add_test(t, groups_take_them);
    tcase_add_test(t, bad_keys_are_refused);
    tcase_add_test(t, describes_what_is_alike_in_one_line);
}

int main(void)
{
    return run_suite("train/rates", add);
}
