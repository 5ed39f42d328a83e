/* Linked into the address-sanitized tests: libraries that Open MPI has loaded stay loaded, so that
 * the leak report at the end can still name them, and .make/lsan.supp can tell theirs from ours. */
int dlclose(void *handle);
int dlclose(void *handle)
{
    (void)handle;
    return 0;
}
