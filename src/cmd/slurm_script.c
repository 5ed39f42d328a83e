#include "slurm_script.h"

#include "base/err.h"
#include "study_sbatch.h"
#include "train_sbatch.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

const char *const SCRIPT_TRAIN = TRAIN_SBATCH, *const SCRIPT_STUDY = STUDY_SBATCH;

static bool is_shell_word(const char *s)
{
    for (; *s != '\0'; s++)
        if (!isalnum((unsigned char)*s) && strchr("_./,:=@%+-", *s) == NULL)
            return false;
    return true;
}

int script_quote(struct str *b, const char *text)
{
    size_t n = 0;
    while (text[n] != '\0' && !iscntrl((unsigned char)text[n]))
        n++;
    if (text[n] != '\0')
        return ERR(E_USAGE, "%.*s…: line breaks and control characters cannot be passed on", (int)n,
                   text);
    if (*text != '\0' && is_shell_word(text)) {
        str_add(b, text);
        return OK;
    }
    str_add(b, "'");
    for (const char *p = text; *p != '\0'; p++)
        if (*p == '\'')
            str_add(b, "'\\''");
        else
            str_addn(b, p, 1);
    str_add(b, "'");
    return OK;
}

int fill_word(struct fill *f, const char *text)
{
    if (text == NULL)
        return OK;
    if (*text == '\0' || !is_shell_word(text))
        return ERR(E_USAGE, "--%s takes letters, digits and _./,:=@%%+-, not \"%s\"", f->key, text);
    str_add(&f->value, text);
    return OK;
}

int fill_count(struct fill *f, const char *option, int64_t n, int64_t least)
{
    if (n < 0 && n != -1)
        return ERR(E_USAGE, "--%s %lld: at least %lld", option, (long long)n, (long long)least);
    if (n == -1)
        return OK;
    if (n < least || n > 1000000)
        return ERR(E_USAGE, "--%s %lld: %lld to 1000000", option, (long long)n, (long long)least);
    str_addf(&f->value, "%lld", (long long)n);
    return OK;
}

int fill_program(struct fill *f, const char *asked)
{
    char path[4096];
    if (asked != NULL && *asked == '-')
        return ERR(E_USAGE, "--carat %s: srun would take it for an option; write ./%s", asked,
                   asked);
    if (asked != NULL)
        return script_quote(&f->value, asked);
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n < 0)
        return ERR(E_USAGE, "cannot tell where this program lies (%s): give --carat PATH",
                   strerror(errno));
    path[n] = '\0';
    return script_quote(&f->value, path);
}

/* True when the line is the place of f. A directive may be switched off by a second '#'. */
static bool is_place(const struct fill *f, const char *line)
{
    size_t n = strlen(f->key);
    if (f->place == DIRECTIVE) {
        static const char begin[] = "#SBATCH --";
        line += line[0] == '#' && line[1] == '#';
        if (strncmp(line, begin, sizeof begin - 1) != 0)
            return false;
        line += sizeof begin - 1;
    }
    return strncmp(line, f->key, n) == 0 && line[n] == '=';
}

static struct fill *place_of(struct fill *fill, int n, const char *line)
{
    for (int i = 0; i < n; i++)
        if (is_place(&fill[i], line))
            return &fill[i];
    return NULL;
}

void script_write(struct str *out, const char *script, struct fill *fill, int n)
{
    for (const char *line = script, *end; *line != '\0'; line = end) {
        const struct fill *f = place_of(fill, n, line);
        end = line + strcspn(line, "\n");
        end += *end == '\n';
        if (f == NULL || f->value.len == 0)
            str_addn(out, line, (size_t)(end - line));
        else
            str_addf(out, "%s%s=%s\n", f->place == DIRECTIVE ? "#SBATCH --" : "", f->key,
                     f->value.s);
    }
}
