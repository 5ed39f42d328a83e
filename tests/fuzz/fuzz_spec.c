/* A Hugging Face config.json: the model that it describes is written and read as the same again. */
#include "base/err.h"
#include "base/mem.h"
#include "fuzz.h"
#include "model/spec.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct model_spec spec, again;
    char *text, *twice;
    if (spec_from_json(&spec, fuzz_text(data, n), "config.json") == OK) {
        MUST(spec_to_json(&spec, &text) == OK);
        MUST(spec_from_json(&again, text, "written") == OK);
        MUST(spec_to_json(&again, &twice) == OK);
        MUST(strcmp(text, twice) == 0);
        mem_free(text);
        mem_free(twice);
    }
    err_clear();
    return 0;
}
