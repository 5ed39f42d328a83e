/* A study's result for people and for programs. */
#ifndef CARAT_STUDY_RESULT_TEXT_H
#define CARAT_STUDY_RESULT_TEXT_H

#include "study/result.h"

#include <jansson.h>

/* Adds tables of targets, batches and ways, the fits, the advice and the notes. */
void result_text(struct str *text, const struct study_result *r);
/* All of it as an object; what is not known is null. NULL: no memory. */
json_t *result_json(const struct study_result *r);

#endif
