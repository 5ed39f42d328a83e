#include "cmd/kind.h"

#include "base/err.h"
#include "base/fs.h"
#include "base/str.h"
#include "io/h5x.h"
#include "study/study.h"
#include "train/ckpt_index.h"

#include <string.h>

const char *kind_name(enum kind kind)
{
    static const char *const names[] = {[KIND_CHECKPOINT] = "checkpoint",
                                        [KIND_STORE] = "token store",
                                        [KIND_SEGMENT] = "segment of metrics",
                                        [KIND_METRICS] = "metrics",
                                        [KIND_EVENTS] = "events",
                                        [KIND_SAFETENSORS] = "safetensors file",
                                        [KIND_RUN] = "run folder",
                                        [KIND_STUDY] = "study folder",
                                        [KIND_HF] = "Hugging Face folder"};
    return names[kind];
}

static bool holds(const char *folder, const char *name)
{
    char path[FS_PATH_MAX];
    return fs_join(path, folder, name) == OK && fs_exists(path);
}

static int kind_of_folder(enum kind *kind, const char *path)
{
    *kind = KIND_STUDY;
    if (study_is_folder(path))
        return OK;
    *kind = KIND_RUN;
    if (holds(path, "checkpoints") || holds(path, "metrics"))
        return OK;
    *kind = KIND_HF;
    if (holds(path, "config.json") || holds(path, "model.safetensors") ||
        holds(path, "model.safetensors.index.json"))
        return OK;
    return ERR(
        E_DATA,
        "%s: neither a run folder (no checkpoints/, no metrics/) nor a study's (no study.json) nor "
        "a Hugging Face folder (no config.json)",
        path);
}

static int kind_of_open(enum kind *kind, hid_t file, const char *path)
{
    char text[32] = "";
    if (h5x_has_attr(file, "kind") && h5x_get_text(file, "kind", text, sizeof text) != OK)
        return err_context(E_DATA, "%s", path);
    if (strcmp(text, CKPT_KIND) == 0)
        *kind = KIND_CHECKPOINT;
    else if (strcmp(text, "carat metrics") == 0)
        *kind = h5x_has_attr(file, "segment") ? KIND_SEGMENT : KIND_METRICS;
    else if (h5x_has_attr(file, "data_hash") && h5x_has_attr(file, "format_version"))
        *kind = KIND_STORE;
    else
        return ERR(E_DATA, "%s: an HDF5 file, but none that carat wrote", path);
    return OK;
}

int kind_of(enum kind *kind, const char *path)
{
    hid_t file;
    if (!fs_exists(path))
        return ERR(E_DATA, "%s: no such file or folder", path);
    if (fs_is_dir(path))
        return kind_of_folder(kind, path);
    *kind = KIND_SAFETENSORS;
    if (str_ends(path, ".safetensors"))
        return OK;
    *kind = KIND_EVENTS;
    if (str_ends(path, "events.jsonl"))
        return OK;
    TRY(h5x_open(&file, path, false));
    int rc = kind_of_open(kind, file, path);
    h5x_close(&file);
    return rc;
}
