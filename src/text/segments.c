#include "segments.h"

#include "base/err.h"
#include "base/mem.h"

#include <string.h>

/* SentencePiece writes a space as U+2581. */
#define ESCAPED_SPACE "\xE2\x96\x81"

/* ASCII characters are told apart; all others count as one. */
enum { OTHER = 128, N_GROUPS };
enum { KEY_BYTES = 26, KEPT_IDS = 9, N_SLOTS = 1 << 18 };

/* One cache line. */
struct slot {
    char key[KEY_BYTES];
    uint8_t n, n_ids; /* n_ids 0: free */
    int32_t id[KEPT_IDS];
};

struct segments {
    bool joined[N_GROUPS][N_GROUPS]; /* some piece holds the one right before the other */
    struct slot *slot;
};

static int group_of(char c)
{
    unsigned char byte = (unsigned char)c;
    return byte < OTHER ? byte : OTHER;
}

/* The group of the character at p; *n is its length, as far as groups matter. */
static int piece_group(const char *p, size_t left, size_t *n)
{
    size_t escaped = strlen(ESCAPED_SPACE);
    *n = 1;
    if (left >= escaped && memcmp(p, ESCAPED_SPACE, escaped) == 0) {
        *n = escaped;
        return ' ';
    }
    return group_of(*p);
}

static void note_joined(struct segments *s, const char *piece, size_t n)
{
    size_t k;
    int before = N_GROUPS;
    for (size_t i = 0; i < n; i += k) {
        int here = piece_group(piece + i, n - i, &k);
        if (before != N_GROUPS)
            s->joined[before][here] = true;
        before = here;
    }
}

/* A merge makes a piece, so none reaches over a boundary that no piece holds. Returns
 * the number of byte pieces: with all of them no character is unknown, and only unknown ones are
 * joined without a piece. */
static int scan_pieces(struct segments *s, const struct spm *m)
{
    int n_bytes = 0;
    s->joined[OTHER][OTHER] = true; /* never inside a character */
    for (int id = 0; id < spm_vocab(m); id++) {
        const char *text;
        size_t n;
        enum spm_kind kind = spm_piece(m, id, &text, &n);
        n_bytes += kind == SPM_BYTE;
        if (kind == SPM_TEXT)
            note_joined(s, text, n);
    }
    return n_bytes;
}

static bool has_boundary(const struct segments *s)
{
    bool all_joined = true;
    for (int a = 0; a < N_GROUPS; a++)
        for (int b = 0; b < N_GROUPS; b++)
            all_joined = all_joined && s->joined[a][b];
    return !all_joined;
}

int segments_new(struct segments **out, const struct spm *m)
{
    struct segments *s;
    TRY(mem_alloc(out, 1, sizeof *s, "text segments"));
    s = *out;
    int rc = OK;
    bool useful = scan_pieces(s, m) == 256 && has_boundary(s);
    if (useful)
        rc = mem_alloc(&s->slot, N_SLOTS, sizeof *s->slot, "text segments");
    if (useful && rc == OK)
        return OK;
    segments_free(s);
    *out = NULL;
    return rc;
}

void segments_free(struct segments *s)
{
    if (s == NULL)
        return;
    mem_free(s->slot);
    mem_free(s);
}

bool segments_fit(const char *text, size_t n)
{
    return memmem(text, n, ESCAPED_SPACE, strlen(ESCAPED_SPACE)) == NULL;
}

size_t segment_length(const struct segments *s, const char *text, size_t n)
{
    size_t i = 1;
    while (i < n && s->joined[group_of(text[i - 1])][group_of(text[i])])
        i++;
    return i;
}

static struct slot *slot_of(const struct segments *s, const char *text, size_t n)
{
    uint64_t word[4] = {0}, h = n;
    memcpy(word, text, n);
    for (int i = 0; i < 4; i++) {
        h = (h ^ word[i]) * 0x9E3779B97F4A7C15u;
        h ^= h >> 32;
    }
    return &s->slot[h % N_SLOTS];
}

const int32_t *segment_find(const struct segments *s, const char *text, size_t n, size_t *n_ids)
{
    if (n > KEY_BYTES)
        return NULL;
    const struct slot *slot = slot_of(s, text, n);
    if (slot->n_ids == 0 || slot->n != n || memcmp(slot->key, text, n) != 0)
        return NULL;
    *n_ids = slot->n_ids;
    return slot->id;
}

void segment_keep(struct segments *s, const char *text, size_t n, const int32_t *ids, size_t n_ids)
{
    if (n > KEY_BYTES || n_ids == 0 || n_ids > KEPT_IDS)
        return;
    struct slot *slot = slot_of(s, text, n);
    memcpy(slot->key, text, n);
    memcpy(slot->id, ids, n_ids * sizeof *ids);
    slot->n = (uint8_t)n;
    slot->n_ids = (uint8_t)n_ids;
}
