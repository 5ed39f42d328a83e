#include "spm_shim.h"

#include <sentencepiece_trainer.h>

#include <cstdio>
#include <exception>
#include <string>
#include <unordered_map>
#include <vector>

namespace sentencepiece::logging
{
/* Exported by the library; its header is not installed. */
void SetMinLogLevel(int level);
} // namespace sentencepiece::logging

namespace sp = sentencepiece;

struct spm {
    sp::SentencePieceProcessor processor;
};

namespace
{
const int LOG_NOTHING = 3; /* only what ends the process */

int fail(char *message, const char *why)
{
    std::snprintf(message, SPM_MESSAGE, "%s", why);
    return -1;
}

/* Runs a call of the library: its exceptions and its bad states become messages. */
template <typename Call> int guarded(char *message, Call call)
{
    try {
        sp::util::Status status = call();
        return status.ok() ? 0 : fail(message, status.error_message());
    } catch (const std::exception &e) {
        return fail(message, e.what());
    }
}

class Sentences : public sp::SentenceIterator
{
  public:
    Sentences(const char *(*next)(void *ctx, size_t *n), void *ctx) : next_(next), ctx_(ctx)
    {
        Sentences::Next();
    }
    bool done() const override
    {
        return done_;
    }
    void Next() override
    {
        size_t n = 0;
        const char *text = next_(ctx_, &n);
        done_ = text == nullptr;
        if (!done_)
            value_.assign(text, n);
    }
    const std::string &value() const override
    {
        return value_;
    }
    sp::util::Status status() const override
    {
        return sp::util::Status();
    }

  private:
    const char *(*next_)(void *ctx, size_t *n);
    void *ctx_;
    std::string value_;
    bool done_ = false;
};
} // namespace

int spm_load(struct spm **m, const void *bytes, size_t n, char *message)
{
    sp::logging::SetMinLogLevel(LOG_NOTHING);
    *m = nullptr;
    return guarded(message, [&] {
        std::unique_ptr<spm> model(new spm);
        auto status = model->processor.LoadFromSerializedProto(
            absl::string_view(static_cast<const char *>(bytes), n));
        if (status.ok())
            *m = model.release();
        return status;
    });
}

void spm_free(struct spm *m)
{
    delete m;
}

int spm_vocab(const struct spm *m)
{
    return m->processor.GetPieceSize();
}

int spm_bos(const struct spm *m)
{
    return m->processor.bos_id();
}

int spm_eos(const struct spm *m)
{
    return m->processor.eos_id();
}

enum spm_kind spm_piece(const struct spm *m, int id, const char **text, size_t *n)
{
    const std::string &piece = m->processor.IdToPiece(id);
    *text = piece.data();
    *n = piece.size();
    if (m->processor.IsControl(id))
        return SPM_CONTROL;
    if (m->processor.IsUnknown(id))
        return SPM_UNKNOWN;
    return m->processor.IsByte(id) ? SPM_BYTE : SPM_TEXT;
}

int spm_encode(const struct spm *m, const char *text, size_t n, char *message,
               void (*take)(void *ctx, const int *ids, size_t n), void *ctx)
{
    return guarded(message, [&] {
        std::vector<int> ids;
        auto status = m->processor.Encode(absl::string_view(text, n), &ids);
        if (status.ok())
            take(ctx, ids.data(), ids.size());
        return status;
    });
}

int spm_decode(const struct spm *m, const int32_t *ids, size_t n, char *message,
               void (*take)(void *ctx, const char *text, size_t n), void *ctx)
{
    return guarded(message, [&] {
        std::string text;
        auto status = m->processor.Decode(std::vector<int>(ids, ids + n), &text);
        if (status.ok())
            take(ctx, text.data(), text.size());
        return status;
    });
}

int spm_train(const struct spm_option *options, size_t n_options,
              const char *(*next)(void *ctx, size_t *n), void *next_ctx, char *message,
              void (*take)(void *ctx, const char *bytes, size_t n), void *ctx)
{
    sp::logging::SetMinLogLevel(LOG_NOTHING);
    return guarded(message, [&] {
        std::unordered_map<std::string, std::string> arguments;
        for (size_t i = 0; i < n_options; i++)
            arguments[options[i].name] = options[i].value;
        Sentences sentences(next, next_ctx);
        std::string model;
        auto status = sp::SentencePieceTrainer::Train(arguments, &sentences, &model);
        if (status.ok())
            take(ctx, model.data(), model.size());
        return status;
    });
}
