/* What the checkers of `make lint` are told in advance. No compiler sees this file. */
#ifndef __clang__
/* cppcheck reads no system headers: jansson's loops, spelled out. */
#define json_array_foreach(a, i, v) for ((i) = 0; ((v) = json_array_get((a), (i))) != NULL; (i)++)
#define json_object_foreach(o, k, v)                                                               \
    for ((k) = json_key(o); ((v) = json_object_get((o), (k))) != NULL; (k) = json_key(o))
#else
/* clang-tidy knows no builtins of gcc; which lanes this one picks is of no interest to it. */
#define __builtin_shuffle(a, ...) ((void)(__VA_ARGS__), (a))
#endif
