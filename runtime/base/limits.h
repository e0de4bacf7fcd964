/* limits.h: the published limits on everything that comes from outside. Each has a test at the limit, at limit + 1 and at the maximum.
 * A limit is part of the error line that refuses what exceeds it. */
#ifndef BL_BASE_LIMITS_H
#define BL_BASE_LIMITS_H

#define BL_LIMIT_KEYS 65536u             /* metadata keys in a file */
#define BL_LIMIT_TENSORS 65536u          /* tensors in a file */
#define BL_LIMIT_KEY_BYTES 65536u        /* one metadata key or tensor name */
#define BL_LIMIT_STRING_BYTES 16777216u  /* one string value */
#define BL_LIMIT_ARRAY_DEPTH 4u          /* arrays in arrays */
#define BL_LIMIT_DIMS 4u                 /* dimensions of a tensor, each at least 1 */
#define BL_LIMIT_ELEMENTS (UINT64_C(1) << 48) /* product of the dimensions */
#define BL_LIMIT_ALIGNMENT_MIN 8u
#define BL_LIMIT_ALIGNMENT_MAX 65536u    /* powers of two between the two */
#define BL_LIMIT_VOCABULARY (1u << 21)   /* tokens */
#define BL_LIMIT_TOKEN_BYTES 65536u      /* one token's text */
#define BL_LIMIT_LAYERS 1024u            /* also heads and head size */
#define BL_LIMIT_CONTEXT (1u << 24)      /* positions */

#define BL_LIMIT_GRAPH_TEXT_BYTES (1u << 20)
#define BL_LIMIT_GRAPH_LINES 4096u
#define BL_LIMIT_GRAPH_DEPTH 64u         /* nested parentheses in an expression, nested blocks */
#define BL_LIMIT_GRAPH_NODES 8192u
#define BL_LIMIT_GRAPH_CONSTANTS (1u << 20) /* words, for kernels */
#define BL_LIMIT_GRAPH_STEPS 1000000u    /* words evaluated while a text is run */
#define BL_LIMIT_GRAPH_COLUMNS (1u << 22) /* columns of one value */

#endif
