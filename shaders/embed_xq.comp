/* embed_xq.comp: the row of an X-bit matrix of each token or position, at its columns' places (kernel_params.h). One invocation makes 32
 * stored columns. Bindings: step, W, input tables, y. */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "common.glsl"
#define W(i) B1(i)
#define INPUT(i) B2(i)
#include "xq.glsl"
#include "xq_input.glsl"
layout(local_size_x = 32) in;
void main()
{
    uint block = gl_GlobalInvocationID.x, r = gl_WorkGroupID.y;
    if (block >= INPUT(XQ_INPUT_BLOCKS) || r >= rows_of(ROWS_OF_STEP))
        return;
    uint id = B0((P(EMBED_SOURCE) != 0 ? STEP_POS : STEP_TOKEN) + r), y0 = r * P(EMBED_COLUMNS);
    if (id >= P(EMBED_N_IDS)) {
        for (uint c = 0; c < 32; c++)
            if (input_column(32 * block + c) != XQ_NO_COLUMN)
                B3(y0 + input_column(32 * block + c)) = 0;
        return;
    }
    Tile t = tile_of(id);
    Walk walk = begin(t);
    seek(t, walk, block);
    Levels l = load_levels(t, walk, block);
    Outliers outliers = outliers_of(id);
    precise float scale = row_scale(t, t.r);
    for (uint c = 0; c < 32; c++) {
        uint to = input_column(32 * block + c);
        if (to == XQ_NO_COLUMN)
            continue;
        float correction = 0.0;
        for (uint i = outliers.first; i < outliers.end; i++) {
            Outlier outlier = outlier_at(outliers, i);
            if (outlier.row == id % XQ_UNIT && outlier.column == 32 * block + c)
                correction = outlier.value;
        }
        precise float w = scale * (walk.unit * float(levels_at(l, c / 4)[c % 4]));
        precise float y = (w + correction) * input_scale(32 * block + c);
        B3(y0 + to) = U(y);
    }
}
