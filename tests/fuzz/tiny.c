#include "tiny.h"

#include "base/err.h"
#include "fuzz.h"

void fuzz_tiny(struct model_spec *spec, struct tensor_table *table)
{
    MUST(spec_preset(spec, "gemma3-nano") == OK);
    spec->V = 11;
    spec->D = 4;
    spec->F = 6;
    spec->L = 1;
    spec->H = 2;
    spec->K = 1;
    spec->Hd = 2;
    MUST(spec_check(spec) == OK);
    MUST(tensors_init(table, spec) == OK);
}
