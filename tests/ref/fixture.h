/* Reference folders (config.json, model.safetensors, expected.h5): loads one, runs the model on it
 * and tells how far each quantity is from what the folder expects. */
#ifndef CARAT_REF_FIXTURE_H
#define CARAT_REF_FIXTURE_H

#include "model/model.h"

#include <hdf5.h>

struct fixture {
    const char *folder;
    struct model_spec spec;
    struct tensor_table table;
    float *params;
    struct batch_view batch;
    int32_t *token, *target; /* what the batch points to */
    float *mask;
    hid_t file;
};

/* E_DATA or E_CONFIG when something is missing, malformed or unsupported; nothing to release then.
 */
int fixture_load(struct fixture *f, const char *folder);
void fixture_release(struct fixture *f);

/* One quantity: its largest error and what is allowed. `where` names the worst tensor, or "". */
typedef void (*fixture_row_fn)(void *ctx, const char *quantity, const char *where, double error,
                               double tolerance);
/* Compares everything that the folder expects. An error code when an expected value is missing or
 * has another shape; distances are the callback's to judge. */
int fixture_compare(const struct fixture *f, fixture_row_fn row, void *ctx);

/* The folders of the shared fixtures, one call each; 0 when they are not there. */
int fixture_each(void (*use)(const char *folder));

#endif
