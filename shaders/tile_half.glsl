/* tile_half.glsl: what a tile stages and adds where it may round to half floats. A block of weights is staged as halves of its largest, one of a row
 * as halves of 128 times its scale, so nothing overflows; of the 32 products of two blocks eight chains of four are added in halves, all else in
 * floats. */
const uint VECTORS = 8, APART_VECTORS = VECTORS + 1; /* odd: neighbours meet different banks */
shared f16vec4 weights[TILE * BLOCKS * APART_VECTORS], rows[TILE * BLOCKS * APART_VECTORS];
shared float weight_scales[TILE * BLOCKS], row_scales[TILE * BLOCKS];

void stage_weights(uint t, uint row, uint block)
{
    Block b = unpack(row, block);
    vec4 w[VECTORS], largest = vec4(0.0);
    [[unroll]] for (uint i = 0; i < VECTORS; i++) {
        w[i] = weights_of(b, i);
        largest = max(largest, abs(w[i]));
    }
    float scale = max(max(max(largest.x, largest.y), max(largest.z, largest.w)), 1e-30);
    weight_scales[t] = scale;
    [[unroll]] for (uint i = 0; i < VECTORS; i++)
        weights[t * APART_VECTORS + i] = f16vec4(w[i] * (1.0 / scale));
}

vec4 bytes_of(uint word)
{
    int w = int(word);
    return vec4(bitfieldExtract(w, 0, 8), bitfieldExtract(w, 8, 8), bitfieldExtract(w, 16, 8), bitfieldExtract(w, 24, 8));
}

void stage_row(uint t, uint from, float limit)
{
    float d = F(B1(from));
    row_scales[t] = d * 128.0;
    [[unroll]] for (uint i = 0; i < VECTORS; i++) {
        vec4 x = bytes_of(B1(from + Q8_COARSE + 1 + i));
        if (d > limit)
            x += bytes_of(B1(from + Q8_FINE + 1 + i)) * FINE;
        rows[t * APART_VECTORS + i] = f16vec4(x * (1.0 / 128.0));
    }
}

/* Adds what staged block b makes to the sums of a row each. Rows that are not there have anything, and are not stored. */
void add_block(uint b, uint r0, uint m, inout vec4 sums[EACH])
{
    f16vec4 dots[EACH][EACH];
    vec4 totals[EACH];
    [[unroll]] for (uint r = 0; r < EACH; r++)
        totals[r] = vec4(0.0);
    [[unroll]] for (uint i = 0; i < VECTORS; i++) {
        f16vec4 w[EACH];
        [[unroll]] for (uint o = 0; o < EACH; o++)
            w[o] = weights[((group() + o * APART) * BLOCKS + b) * APART_VECTORS + i];
        [[unroll]] for (uint r = 0; r < EACH; r++) {
            f16vec4 x = rows[((lane() + r * APART) * BLOCKS + b) * APART_VECTORS + i];
            [[unroll]] for (uint o = 0; o < EACH; o++) {
                dots[r][o] = i % 4 == 0 ? x * w[o] : x * w[o] + dots[r][o];
                if (i % 4 == 3) {
                    vec4 four = vec4(dots[r][o]);
                    totals[r][o] += (four.x + four.y) + (four.z + four.w);
                }
            }
        }
    }
    [[unroll]] for (uint r = 0; r < EACH; r++) {
        float scale = row_scales[(lane() + r * APART) * BLOCKS + b];
        [[unroll]] for (uint o = 0; o < EACH; o++)
            sums[r][o] += (scale * weight_scales[(group() + o * APART) * BLOCKS + b]) * totals[r][o];
    }
}
