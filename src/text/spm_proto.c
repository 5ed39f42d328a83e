#include "spm_proto.h"

#include <stdint.h>

/* Protocol buffer wire types, and the fields of SentencePiece's ModelProto that are read here. */
enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };
enum { MODEL_TRAINER = 2, MODEL_NORMALIZER = 3 };
enum { TRAINER_MODEL_TYPE = 3, MODEL_TYPE_BPE = 2 };
enum {
    NORMALIZER_CHARMAP = 2,
    NORMALIZER_DUMMY_PREFIX = 3,
    NORMALIZER_REMOVE_SPACES = 4,
    NORMALIZER_ESCAPE_SPACES = 5
};

struct bytes {
    const unsigned char *p;
    size_t n;
};

struct field {
    int number;
    uint64_t value;    /* of a varint; the length of bytes */
    struct bytes body; /* of bytes */
};

static bool take_varint(struct bytes *b, uint64_t *out)
{
    *out = 0;
    for (int shift = 0; shift < 64 && b->n > 0; shift += 7) {
        unsigned char c = *b->p++;
        b->n--;
        *out |= (uint64_t)(c & 0x7f) << shift;
        if (c < 0x80)
            return true;
    }
    return false;
}

static bool take_bytes(struct bytes *b, uint64_t n, struct bytes *out)
{
    if (n > b->n)
        return false;
    *out = (struct bytes){b->p, (size_t)n};
    b->p += n;
    b->n -= (size_t)n;
    return true;
}

/* The next field of a message; false at its end and at what is no message. */
static bool take_field(struct bytes *b, struct field *f)
{
    uint64_t tag;
    *f = (struct field){0};
    if (!take_varint(b, &tag))
        return false;
    f->number = (int)(tag >> 3 & 0x1fffffff);
    switch (tag & 7) {
    case WIRE_VARINT:
        return take_varint(b, &f->value);
    case WIRE_64:
        return take_bytes(b, 8, &f->body);
    case WIRE_32:
        return take_bytes(b, 4, &f->body);
    case WIRE_BYTES:
        return take_varint(b, &f->value) && take_bytes(b, f->value, &f->body);
    default:
        return false;
    }
}

struct facts {
    bool bpe, charmap, dummy_prefix, remove_spaces, escape_spaces;
};

static void read_trainer(struct bytes b, struct facts *facts)
{
    struct field f;
    while (take_field(&b, &f))
        if (f.number == TRAINER_MODEL_TYPE)
            facts->bpe = f.value == MODEL_TYPE_BPE;
}

static void read_normalizer(struct bytes b, struct facts *facts)
{
    struct field f;
    while (take_field(&b, &f)) {
        bool yes = f.value != 0;
        switch (f.number) {
        case NORMALIZER_CHARMAP:
            facts->charmap = yes;
            break;
        case NORMALIZER_DUMMY_PREFIX:
            facts->dummy_prefix = yes;
            break;
        case NORMALIZER_REMOVE_SPACES:
            facts->remove_spaces = yes;
            break;
        case NORMALIZER_ESCAPE_SPACES:
            facts->escape_spaces = yes;
            break;
        default:
            break;
        }
    }
}

bool spm_takes_text_as_is(const void *bytes, size_t n)
{
    /* The library's values for what a file leaves out. */
    struct facts facts = {.dummy_prefix = true, .remove_spaces = true, .escape_spaces = true};
    struct bytes b = {bytes, n};
    struct field f;
    while (take_field(&b, &f)) {
        if (f.number == MODEL_TRAINER)
            read_trainer(f.body, &facts);
        else if (f.number == MODEL_NORMALIZER)
            read_normalizer(f.body, &facts);
    }
    return b.n == 0 && facts.bpe && !facts.charmap && !facts.dummy_prefix && !facts.remove_spaces &&
           facts.escape_spaces;
}
