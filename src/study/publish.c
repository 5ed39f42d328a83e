/* Files of a study that appear once and whole, whoever else tries. */
#include "folder.h"

#include "base/err.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A name beside path that no other process uses. */
static int name_beside(char *beside, const char *path)
{
    char host[64] = "host";
    (void)gethostname(host, sizeof host - 1);
    int n = snprintf(beside, FS_PATH_MAX, "%s.new-%s-%ld", path, host, (long)getpid());
    return n < FS_PATH_MAX ? OK : ERR(E_IO, "%.60s…: the path is too long", path);
}

static int link_first(const char *from, const char *to, bool *taken)
{
    *taken = false;
    if (link(from, to) == 0)
        return fs_fsync_parent(to);
    *taken = errno == EEXIST;
    return *taken ? OK : ERR(E_IO, "%s: cannot link to %s: %s", from, to, strerror(errno));
}

int publish_once(const char *path, json_t *object, bool *taken)
{
    char beside[FS_PATH_MAX];
    char *text = json_dumps(object, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    if (text == NULL)
        return ERR(E_MEM, "no memory for %s", path);
    int rc = name_beside(beside, path);
    if (rc == OK)
        rc = fs_write_file(beside, text, strlen(text));
    free(text);
    TRY(rc);
    rc = link_first(beside, path, taken);
    unlink(beside);
    return rc;
}
