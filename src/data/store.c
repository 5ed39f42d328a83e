#include "data/store.h"

#include "base/err.h"
#include "base/fault.h"
#include "base/fs.h"
#include "base/mem.h"
#include "io/h5x.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tokens are read as they stand in the file: little-endian"
#endif

#define TOKENIZER_BYTES_MAX ((size_t)256 << 20)
#define NAME_MAX_BYTES      32

static const char *const group_of[] = {[SPLIT_TRAIN] = "train", [SPLIT_VALID] = "valid"};

/* A plain row of unsigned integers; h5x_describe checks that it lies inside the file. */
static int describe_row(hid_t file, const char *path, const char *name, struct h5x_array *a)
{
    int rc = h5x_describe(file, name, a);
    if (rc != OK)
        return err_context(rc, "%s", path);
    if (a->class != H5T_INTEGER || a->is_signed || a->n_dims != 1)
        return ERR(E_DATA, "%s: %s must be one row of unsigned integers", path, name);
    return OK;
}

static int open_tokens(struct store *s, hid_t file)
{
    char name[NAME_MAX_BYTES];
    struct h5x_array a;
    snprintf(name, sizeof name, "%s/tokens", group_of[s->split]);
    TRY(describe_row(file, s->path, name, &a));
    if (a.elem_bytes != 1 && a.elem_bytes != 2 && a.elem_bytes != 4)
        return ERR(E_DATA, "%s: %s has integers of %zu bytes; 1, 2 or 4 are tokens", s->path, name,
                   a.elem_bytes);
    s->token_bytes = (int)a.elem_bytes;
    s->token_offset = a.offset;
    s->n_tokens = a.n;
    return OK;
}

/* Every document has a token: offsets rise strictly, from 0 to n_tokens. */
static int check_offsets(const struct store *s, const char *name)
{
    if (s->doc_offset[0] != 0)
        return ERR(E_DATA, "%s: %s begins with %llu, not with 0", s->path, name,
                   (unsigned long long)s->doc_offset[0]);
    for (uint64_t i = 0; i < s->n_docs; i++)
        if (s->doc_offset[i + 1] <= s->doc_offset[i])
            return ERR(E_DATA, "%s: %s does not rise at document %llu", s->path, name,
                       (unsigned long long)i);
    if (s->doc_offset[s->n_docs] != s->n_tokens)
        return ERR(E_DATA, "%s: %s ends at %llu, but there are %llu tokens", s->path, name,
                   (unsigned long long)s->doc_offset[s->n_docs], (unsigned long long)s->n_tokens);
    return OK;
}

static int open_offsets(struct store *s, hid_t file)
{
    char name[NAME_MAX_BYTES];
    struct h5x_array a;
    void *data;
    size_t n;
    snprintf(name, sizeof name, "%s/offsets", group_of[s->split]);
    TRY(describe_row(file, s->path, name, &a));
    if (a.elem_bytes != 8 || a.n == 0)
        return ERR(E_DATA, "%s: %s must be at least one 64-bit integer", s->path, name);
    int rc = h5x_get_array(file, name, H5T_NATIVE_UINT64, a.n, &data, &n);
    if (rc != OK)
        return err_context(rc, "%s", s->path);
    s->doc_offset = data;
    s->n_docs = n - 1;
    s->offsets_at = a.offset;
    return check_offsets(s, name);
}

static int read_attributes(struct store *s, hid_t file)
{
    int64_t vocab;
    TRY(h5x_get_i64(file, "vocab", &vocab));
    if (vocab < 1 || vocab > INT_MAX)
        return ERR(E_DATA, "a vocabulary of %lld", (long long)vocab);
    s->vocab = (int)vocab;
    TRY(h5x_get_text(file, "tokenizer_hash", s->tokenizer_hash, sizeof s->tokenizer_hash));
    return h5x_get_text(file, "data_hash", s->data_hash, sizeof s->data_hash);
}

static int check_version(const char *path, hid_t file)
{
    int64_t version;
    if (!h5x_has_attr(file, "format_version") || !h5x_has_attr(file, "data_hash"))
        return ERR(E_DATA, "%s: is no token store (`carat prepare` makes one)", path);
    int rc = h5x_get_i64(file, "format_version", &version);
    if (rc != OK)
        return err_context(rc, "%s", path);
    if (version != STORE_FORMAT_VERSION)
        return ERR(E_DATA, "%s: has format %lld, this carat reads %d: prepare the text again", path,
                   (long long)version, STORE_FORMAT_VERSION);
    return OK;
}

static int open_attributes(struct store *s, hid_t file)
{
    TRY(check_version(s->path, file));
    int rc = read_attributes(s, file);
    return rc == OK ? OK : err_context(rc, "%s", s->path);
}

/* The descriptor that HDF5 checked, not the name once more: it could be another file by now. */
static int keep_descriptor(struct store *s, hid_t file)
{
    void *handle;
    if (H5Fget_vfd_handle(file, H5P_DEFAULT, &handle) < 0)
        return h5x_error(E_IO, "%s: no file descriptor", s->path);
    s->fd = fcntl(*(const int *)handle, F_DUPFD_CLOEXEC, 0);
    if (s->fd < 0)
        return ERR(E_IO, "%s: cannot keep it open: %s", s->path, strerror(errno));
    return OK;
}

static int check_apart(const struct store *s)
{
    struct h5x_place place[] = {
        {"offsets", s->offsets_at, (int64_t)((s->n_docs + 1) * sizeof *s->doc_offset)},
        {"tokens", s->token_offset, (int64_t)s->n_tokens * s->token_bytes}};
    int rc = h5x_check_apart(place, s->n_tokens > 0 ? 2 : 1);
    return rc == OK ? OK : err_context(rc, "%s", s->path);
}

static int open_parts(struct store *s, hid_t file)
{
    TRY(open_attributes(s, file));
    TRY(open_tokens(s, file));
    TRY(open_offsets(s, file));
    TRY(check_apart(s));
    return keep_descriptor(s, file);
}

int store_open(struct store *s, const char *path, enum split split)
{
    hid_t file;
    *s = (struct store){.fd = -1, .split = split};
    if (strlen(path) >= sizeof s->path)
        return ERR(E_DATA, "%.60s...: the path is too long", path);
    strcpy(s->path, path);
    TRY(h5x_open(&file, path, false));
    int rc = open_parts(s, file);
    int closed = h5x_close(&file);
    if (rc == OK)
        rc = closed;
    if (rc != OK)
        store_close(s);
    return rc;
}

void store_close(struct store *s)
{
    if (s->fd >= 0)
        close(s->fd);
    mem_free(s->doc_offset);
    *s = (struct store){.fd = -1};
}

int store_tokenizer(const char *path, void **bytes, size_t *n)
{
    hid_t file;
    int rc = OK;
    *bytes = NULL;
    *n = 0;
    TRY(h5x_open(&file, path, false));
    struct h5x_array a;
    if (H5Lexists(file, "tokenizer", H5P_DEFAULT) > 0) {
        rc = describe_row(file, path, "tokenizer", &a);
        if (rc == OK && a.elem_bytes != 1)
            rc = ERR(E_DATA, "%s: tokenizer must be bytes", path);
        if (rc == OK)
            rc = h5x_get_array(file, "tokenizer", H5T_NATIVE_UINT8, TOKENIZER_BYTES_MAX, bytes, n);
    }
    int closed = h5x_close(&file);
    return rc != OK ? rc : closed;
}

/* All n bytes, at least one; fills the fault otherwise. Not fs_pread: that records its error. */
static bool read_bytes(const struct store *s, char *out, size_t n, int64_t offset,
                       struct store_fault *fault)
{
    do {
        ssize_t k = fault_hit("store.read") ? (errno = EIO, -1) : pread(s->fd, out, n, offset);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0) {
            fault->code = k < 0 ? E_IO : E_DATA;
            fault->system = k < 0 ? errno : 0;
            fault->ended = k == 0;
            return false;
        }
        out += k;
        n -= (size_t)k;
        offset += k;
    } while (n > 0);
    return true;
}

static void widen(int32_t *restrict out, const void *restrict in, size_t n, int width)
{
    const uint8_t *u8 = in;
    const uint16_t *u16 = in;
    if (width == 1)
        for (size_t i = 0; i < n; i++)
            out[i] = u8[i];
    else if (width == 2)
        for (size_t i = 0; i < n; i++)
            out[i] = u16[i];
    else /* what does not fit becomes negative and is refused with the rest */
        memcpy(out, in, n * sizeof *out);
}

/* The place of the first id outside the vocabulary, n when there is none. */
static size_t find_outside(const int32_t *ids, size_t n, int vocab)
{
    size_t i = 0;
    while (i < n && (uint32_t)ids[i] < (uint32_t)vocab)
        i++;
    return i;
}

void store_try_read(const struct store *s, uint64_t first, size_t n, int32_t *out,
                    struct store_fault *fault)
{
    enum { CHUNK = 4096 };
    _Alignas(4) char raw[CHUNK * 4];
    *fault = (struct store_fault){.position = first};
    if (first > s->n_tokens || n > s->n_tokens - first) {
        fault->code = E_BUG;
        return;
    }
    for (size_t done = 0, k; done < n; done += k) {
        k = n - done < CHUNK ? n - done : CHUNK;
        fault->position = first + done;
        int64_t at = s->token_offset + (int64_t)fault->position * s->token_bytes;
        if (!read_bytes(s, raw, k * (size_t)s->token_bytes, at, fault))
            return;
        widen(out + done, raw, k, s->token_bytes);
        size_t bad = find_outside(out + done, k, s->vocab);
        if (bad < k) {
            fault->code = E_DATA;
            fault->id = (uint32_t)out[done + bad];
            fault->position += bad;
            return;
        }
    }
}

int store_fault_error(const struct store *s, const struct store_fault *f)
{
    unsigned long long at = f->position;
    if (f->code == OK)
        return OK;
    if (f->code == E_BUG)
        return ERR(E_BUG, "%s: tokens from %llu on were asked for; there are %llu", s->path, at,
                   (unsigned long long)s->n_tokens);
    if (f->code == E_IO)
        return ERR(E_IO, "%s: cannot read token %llu: %s", s->path, at, strerror(f->system));
    if (f->ended)
        return ERR(E_DATA, "%s: ends before token %llu: the file is torn", s->path, at);
    return ERR(E_DATA, "%s: token %llu of %s is %u, outside the vocabulary of %d", s->path, at,
               group_of[s->split], f->id, s->vocab);
}

int store_read(const struct store *s, uint64_t first, size_t n, int32_t *out)
{
    struct store_fault fault;
    store_try_read(s, first, n, out, &fault);
    return store_fault_error(s, &fault);
}
