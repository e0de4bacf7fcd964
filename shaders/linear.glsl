/* linear.glsl: what the matrix products share (struct bl_params_linear): which outputs and rows a workgroup has, and how one is stored. A
 * dispatch is one segment. Its bindings: step, x, W, bias, residual, y; with GLU: step, x, W of gate, W of up, none, y. XQ: W is a blob. */
#ifdef GLU
uint side = 0; /* 0: gate, 1: up; known wherever it is used */
#endif
#ifdef TEXELS
#include "texels.glsl"
#ifdef XQ
#define W(i) B2(i)
#else
#define W(i) word_of(texels_w, push.at[2] + (i))
#endif
#define W_WINDOW(i, n) window(texels_w, push.at[2] + (i), n)
#define X(i) word_of(texels_x, push.at[1] + (i))
#define X_WINDOW(i, n) window(texels_x, push.at[1] + (i), n)
#else
#ifdef GLU
#define W(i) (side == 0 ? B2(i) : B3(i))
#else
#define W(i) B2(i)
#endif
#define X(i) B1(i)
#endif
#ifdef SHORTS /* the same bytes as bindings 2 and 3 */
layout(set = 0, binding = 2) readonly buffer Shorts2 { uint16_t h[]; } s2;
layout(set = 0, binding = 3) readonly buffer Shorts3 { uint16_t h[]; } s3;
#ifdef GLU
#define W_SHORT(i) uint(side == 0 ? s2.h[2 * push.at[2] + (i)] : s3.h[2 * push.at[3] + (i)])
#else
#define W_SHORT(i) uint(s2.h[2 * push.at[2] + (i)])
#endif
#endif
#ifndef XQ
#include "unpack.glsl"
#endif
const float FINE = 1.0 / 254.0;
const float Q8_DOMINANT = 0.5, XQ_DOMINANT = 1.5; /* BL_*_DOMINANT */
layout(local_size_x_id = 3) in;
layout(constant_id = 2) const uint ROWS = 1;  /* rows of a workgroup, 1 or 8; more rows are more workgroups along y */
#ifndef LANES
layout(constant_id = 4) const uint LANES = 8; /* neighbouring invocations that share their outputs */
const bool SHARES = true;
#else
const bool SHARES = false; /* LANES is 1 */
#endif

uint lane()
{
    return gl_LocalInvocationID.x % LANES;
}

uint group()
{
    return gl_LocalInvocationID.x / LANES;
}

float limit_of_sum(float sum, uint blocks, float dominant)
{
    precise float limit = dominant * (sum / float(blocks));
    return limit;
}

/* Above this d a block of the row is dominant. */
float limit_of(uint x, uint blocks, float dominant)
{
    precise float sum = 0.0;
    for (uint b = 0; b < blocks; b++)
        sum = sum + F(X(x + b * Q8_WORDS));
    return limit_of_sum(sum, blocks, dominant);
}

void store_output(uint output_, uint row, float acc)
{
    uint at = row * P(LINEAR_STRIDE) + output_;
    precise float y = acc;
    if ((P(LINEAR_FLAGS) & LINEAR_BIAS) != 0)
        y = y + F(B3(output_));
    if ((P(LINEAR_FLAGS) & LINEAR_RESIDUAL) != 0)
        y = y + F(B4(at));
    B5(at) = U(y);
}
