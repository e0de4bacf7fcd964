/* embed.comp: the row of each token or position, dequantised (struct bl_params_embed). One invocation makes 32 columns. */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#define W(i) B1(i)
#include "unpack.glsl"
layout(local_size_x = 32) in;
void main()
{
    uint columns = P(EMBED_COLUMNS), r = gl_WorkGroupID.y, c0 = gl_GlobalInvocationID.x * 32;
    if (c0 >= columns || r >= rows_of(ROWS_OF_STEP))
        return;
    uint id = B0((P(EMBED_SOURCE) != 0 ? STEP_POS : STEP_TOKEN) + r), first = P(EMBED_FIRST), n = min(32, columns - c0), at = r * columns + c0;
    if (id >= P(EMBED_N_IDS)) {
        for (uint i = 0; first == 0 && i < n; i++)
            B2(at + i) = 0;
        return;
    }
    if (id - first >= P(EMBED_COUNT)) /* below first: wraps to far above count */
        return;
    uint row = (id - first) * row_bytes(columns);
    if (IS_QUANT) {
        Block b = unpack(row, c0 / 32);
        for (uint i = 0; i < 8; i++) {
            uvec4 w = U(weights_of(b, i));
            for (uint j = 0; j < 4; j++)
                B2(at + 4 * i + j) = w[j];
        }
    } else {
        for (uint i = 0; i < n; i++)
            B2(at + i) = U(float_weight(row, c0 + i));
    }
}
