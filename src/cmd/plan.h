/* What the files of `carat plan` share. */
#ifndef CARAT_CMD_PLAN_PARTS_H
#define CARAT_CMD_PLAN_PARTS_H

#include "base/str.h"
#include "cmd/job.h"
#include "cmd/step_model.h"
#include "cmd/step_rates.h"
#include "train/budget.h"
#include "train/derive.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct request {
    int64_t ranks, ranks_a_node, nodes; /* 0: none given */
    double gflops, memory;              /* 0: measured here, this machine's */
    const char *net;                    /* "LATENCY,BANDWIDTH"; NULL: assumed */
    bool json, lr_curve, help;
};

struct plan {
    const struct job *job;
    int64_t ranks, ranks_a_node, nodes;
    int64_t n_micro, accumulation; /* micro-batches a step: all, and of the busiest rank */
    struct course course;
    struct scaling scaling;
    struct schedule schedule;
    struct str derivation, warnings;
    double n_params, n_trained, flops_token, flops_step, tokens_step;
    struct budget budget;
    double node_bytes, limit_bytes;
    struct step_rates rates;
    struct step_model model;
    struct step_time time;
    double rank_flops; /* FLOP/s of a rank's passes */
    bool measured, net_given;
    int64_t n_nodes_asked; /* the table's last row; 0: no table */
    double run_s, core_hours;
};

/* Fills the model from rates measured here or given. E_USAGE, E_MEM. */
int plan_model(struct plan *p, const struct request *r);
/* "459 ms", "3.87 s", "1h 04m" into buf; returns buf. */
char *plan_step_text(char *buf, size_t n, double s);
/* E_BUG. */
int plan_print_json(const struct plan *p);
/* Tokens of the whole run. */
double plan_tokens(const struct plan *p);
/* The seconds that a step of `batch` sequences takes. */
double plan_step_s(const struct plan *p, int64_t batch);
/* 1, 2, 4, … nodes: a table with advice, and the same as an array. */
void plan_print_nodes(const struct plan *p);
json_t *plan_nodes_json(const struct plan *p);

#endif
