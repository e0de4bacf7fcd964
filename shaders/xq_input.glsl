/* xq_input.glsl: the input of X-bit matrices (struct bl_xq_input): which of the model's columns is stored where, and its scale. Whoever
 * includes it has defined INPUT(i), word i of the tables. */
uint input_column(uint c)
{
    return INPUT(XQ_INPUT_HEAD + c / 2) >> c % 2 * 16 & 0xffffu;
}

float input_scale(uint c)
{
    uint scales = XQ_INPUT_HEAD + 16 * INPUT(XQ_INPUT_BLOCKS);
    return scale_of(INPUT(scales + c / 4) >> c % 4 * 8 & 255u, int(INPUT(XQ_INPUT_EXPONENT)) >> 16);
}
