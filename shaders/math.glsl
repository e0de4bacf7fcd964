/* math.glsl: the project's own exp, tanh, erf (cpu_fallback/ref/math.h), and the unary functions made of them. */
const float ROUND_MAGIC = 12582912.0;
float min_f32(float a, float b) { return a < b ? a : b; } /* b when either is NaN */
float max_f32(float a, float b) { return a > b ? a : b; }

float exp_f32(float x0)
{
    precise float x = max_f32(-104.0, min_f32(89.0, x0));
    precise float shifted = x * 1.44269504 + ROUND_MAGIC;
    precise float n = shifted - ROUND_MAGIC;
    precise float r = x - n * 0.693359375;
    r = r - n * -2.12194440e-4;
    precise float p = 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = (p * r) * r + r;
    p = p + 1.0;
    int exponent = int(U(shifted) - U(ROUND_MAGIC)), halved = exponent >> 1;
    p = p * F(uint(halved + 127) << 23);
    p = p * F(uint(exponent - halved + 127) << 23);
    return p;
}

float tanh_f32(float x)
{
    precise float u = x * x;
    precise float p = 2.29584e-3;
    p = p * u + -8.34698e-3;
    p = p * u + 2.176996e-2;
    p = p * u + -5.395941e-2;
    p = p * u + 1.3333304e-1;
    p = p * u + -3.3333333e-1;
    precise float small = (p * u) * x + x;
    uint sign = U(x) & 0x80000000u;
    precise float magnitude = F(U(x) ^ sign);
    precise float large = 1.0 - 2.0 / (exp_f32(magnitude + magnitude) + 1.0);
    return magnitude < 0.625 ? small : F(U(large) | sign);
}

float erf_f32(float x)
{
    precise float u = x * x;
    precise float p = -9.67359042e-6;
    p = p * u + 1.12682538e-4;
    p = p * u + -8.48439653e-4;
    p = p * u + 5.22105341e-3;
    p = p * u + -2.68654383e-2;
    p = p * u + 1.12837826e-1;
    p = p * u + -3.76126385e-1;
    p = p * u + 1.28379167e-1;
    precise float small = p * x + x;
    uint sign = U(x) & 0x80000000u;
    precise float a = min_f32(4.0, F(U(x) ^ sign));
    precise float q = -1.61406163e-6;
    q = q * a + 4.55906230e-5;
    q = q * a + -5.92769543e-4;
    q = q * a + 4.74022237e-3;
    q = q * a + -2.63647174e-2;
    q = q * a + 1.09978245e-1;
    q = q * a + 6.31937093e-1;
    q = q * a + 1.13016668;
    q = q * a + -3.03213001e-4;
    precise float large = 1.0 - exp_f32(-q);
    return a < 1.0 ? small : F(U(large) | sign);
}

float unary(uint kind, float a, float x)
{
    precise float y;
    if (kind == UNARY_SILU)
        y = x / (1.0 + exp_f32(-x));
    else if (kind == UNARY_GELU)
        y = (0.5 * x) * (1.0 + erf_f32(x * 0.707106781));
    else if (kind == UNARY_GELU_TANH) {
        precise float inner = 0.797884561 * (x + 0.044715 * ((x * x) * x));
        y = (0.5 * x) * (1.0 + tanh_f32(inner));
    } else if (kind == UNARY_GELU_QUICK) {
        precise float inner = -1.702 * x;
        y = x / (1.0 + exp_f32(inner));
    } else if (kind == UNARY_RELU)
        y = max_f32(x, 0.0);
    else if (kind == UNARY_RELU2)
        y = max_f32(x, 0.0) * max_f32(x, 0.0);
    else if (kind == UNARY_SIGMOID)
        y = 1.0 / (1.0 + exp_f32(-x));
    else if (kind == UNARY_TANH)
        y = tanh_f32(x);
    else if (kind == UNARY_SCALE)
        y = a * x;
    else {
        precise float inner = x / a;
        y = a * tanh_f32(inner);
    }
    return y;
}
