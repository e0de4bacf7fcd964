/* bench.c */
#include "check.h"
int bench(void)
{
    return 0;
}
