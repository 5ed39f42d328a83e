#include "kern/attention.h"

#include "attn_scratch.h"

size_t attention_scratch(const struct attention_shape *s)
{
    struct scratch c;
    return scratch_cut(&c, NULL, s);
}
