#include "kern/attention.h"

#include "attn_scratch.h"

size_t attention_scratch(const struct attention_shape *s)
{
    return scratch_cut(NULL, NULL, s);
}
