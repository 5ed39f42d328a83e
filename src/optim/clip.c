#include "optim/optim.h"

/* Keeps the quotient finite; the usual value, so that results compare with other programs'. */
#define NORM_GUARD 1e-6

double clip_scale(double norm, double max_norm)
{
    double scale = max_norm / (norm + NORM_GUARD);
    return max_norm > 0 && scale < 1 ? scale : 1;
}
