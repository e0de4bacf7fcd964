/* xq_scale.glsl: the scales of rows and columns of X-bit matrices (BL_XQ_MANTISSAS in hal/xq.h). */
float scale_of(uint s, int exponent)
{
    const float mantissas[16] = float[16](1.0, 1.04427378, 1.09050773, 1.13878863, 1.18920712, 1.24185781, 1.29683955, 1.35425555,
                                          1.41421356, 1.47682615, 1.54221083, 1.61049033, 1.68179283, 1.75625216, 1.83400809, 1.91520656);
    precise float scale = mantissas[s % 16] * F(uint(exponent + int(s / 16) + 127) << 23);
    return s != 0 ? scale : 0.0;
}
