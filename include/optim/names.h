/* Rows of a table by their names. */
#ifndef CARAT_OPTIM_NAMES_H
#define CARAT_OPTIM_NAMES_H

/* The place of name among names[n], counted from 0; else E_CONFIG, which says what the name is for
 * ("optimizer"), the nearest one and all that there are. */
int names_find(int *at, const char *what, const char *name, const char *const *names, int n);

#endif
