#include "base/err.h"
#include "base/str.h"
#include "model/spec.h"

#include <string.h>

/* Released text models, as their config.json files have them, and small ones of the same build.
 * What a row does not name is the family's default. */
static const struct preset {
    const char *name, *note;
    int family, V, D, L, H, K, Hd, F, max_positions, window, pattern;
    double query_scalar, factor;
} presets[] = {
    /* name, note, family, V, D, L, H, K, Hd, F, max_positions, window, pattern, query_scalar,
     * factor */
    {"gemma-2b", "Gemma 1, 2.5 B parameters", 1, 256000, 2048, 18, 8, 1, 256, 16384, 8192, 0, 1,
     256, 1},
    {"gemma-7b", "Gemma 1, 8.5 B parameters", 1, 256000, 3072, 28, 16, 16, 256, 24576, 8192, 0, 1,
     256, 1},
    {"gemma2-2b", "Gemma 2, 2.6 B parameters", 2, 256000, 2304, 26, 8, 4, 256, 9216, 8192, 4096, 2,
     256, 1},
    {"gemma2-9b", "Gemma 2, 9.2 B parameters", 2, 256000, 3584, 42, 16, 8, 256, 14336, 8192, 4096,
     2, 256, 1},
    {"gemma2-27b", "Gemma 2, 27 B parameters", 2, 256000, 4608, 46, 32, 16, 128, 36864, 8192, 4096,
     2, 144, 1},
    {"gemma3-270m", "Gemma 3, 268 M parameters", 3, 262144, 640, 18, 4, 1, 256, 2048, 32768, 512, 6,
     256, 1},
    {"gemma3-1b", "Gemma 3, 1.0 B parameters", 3, 262144, 1152, 26, 4, 1, 256, 6912, 32768, 512, 6,
     256, 1},
    {"gemma3-4b", "Gemma 3, the text part of 4B", 3, 262208, 2560, 34, 8, 4, 256, 10240, 131072,
     1024, 6, 256, 8},
    {"gemma3-12b", "Gemma 3, the text part of 12B", 3, 262208, 3840, 48, 16, 8, 256, 15360, 131072,
     1024, 6, 256, 8},
    {"gemma3-27b", "Gemma 3, the text part of 27B", 3, 262208, 5376, 62, 32, 16, 128, 21504, 131072,
     1024, 6, 168, 8},
    {"gemma1-nano", "Gemma 1's build, 1.5 M: first steps, studies", 1, 4096, 128, 4, 4, 1, 32, 512,
     8192, 0, 1, 32, 1},
    {"gemma2-nano", "Gemma 2's build, 1.5 M: first steps, studies", 2, 4096, 128, 4, 4, 2, 32, 512,
     8192, 128, 2, 32, 1},
    {"gemma3-nano", "Gemma 3's build, 1.5 M: first steps, studies", 3, 4096, 128, 4, 4, 1, 32, 512,
     32768, 128, 4, 32, 1},
    {"gemma3-mini", "Gemma 3's build, 6.8 M: small corpora", 3, 4096, 256, 6, 4, 1, 64, 1024, 32768,
     512, 6, 64, 1},
};
enum { N_PRESETS = sizeof presets / sizeof *presets };

const char *spec_preset_name(int i)
{
    return i >= 0 && i < N_PRESETS ? presets[i].name : NULL;
}

const char *spec_preset_note(int i)
{
    return i >= 0 && i < N_PRESETS ? presets[i].note : NULL;
}

static int from_row(struct model_spec *s, const struct preset *p)
{
    const struct {
        const char *field;
        double value;
    } values[] = {
        {"vocab", p->V},
        {"width", p->D},
        {"layers", p->L},
        {"heads", p->H},
        {"kv_heads", p->K},
        {"head_dim", p->Hd},
        {"ffn", p->F},
        {"max_positions", p->max_positions},
        {"window", p->window},
        {"pattern", p->pattern},
        {"rope_factor", p->factor},
        {"query_scalar", p->query_scalar},
    };
    spec_defaults(s, p->family);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        TRY(spec_set(s, values[i].field, values[i].value));
    return spec_check(s);
}

int spec_preset(struct model_spec *s, const char *name)
{
    const char *names[N_PRESETS];
    for (int i = 0; i < N_PRESETS; i++) {
        if (strcmp(presets[i].name, name) == 0)
            return from_row(s, &presets[i]);
        names[i] = presets[i].name;
    }
    const char *near = str_nearest(name, names, N_PRESETS);
    if (near == NULL)
        return ERR(E_CONFIG,
                   "there is no model preset \"%s\"; gemma3-nano and gemma-2b are two that are",
                   name);
    return ERR(E_CONFIG, "there is no model preset \"%s\": did you mean \"%s\"?", name, near);
}
