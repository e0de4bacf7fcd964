/* exchange.glsl: how the lanes that share outputs exchange what they have where the device shuffles within subgroups, in the order of
 * hal/kernel_params.h: no shared memory, no barrier. LANES is 4 or more and divides the subgroup, and the invocations of a subgroup follow each
 * other: no driver promises this, the known case of hal/tune.c finds out. All lanes of a subgroup must come here. */

/* Lane i of each four gets component i of all four. */
vec4 transposed(vec4 v)
{
    bool odd = (gl_SubgroupInvocationID & 1u) != 0, high = (gl_SubgroupInvocationID & 2u) != 0;
    vec2 got = subgroupShuffleXor(odd ? v.xz : v.yw, 1);
    v = odd ? vec4(got.x, v.y, got.y, v.w) : vec4(v.x, got.x, v.z, got.y);
    got = subgroupShuffleXor(high ? v.xy : v.zw, 2);
    return high ? vec4(got, v.zw) : vec4(v.xy, got);
}

/* Adds the terms of LANES blocks, of each the coarse and then the fine one, to the sum of output lane % 4; all fours have the same sums. */
float add_terms(float sum, vec4 coarse, vec4 fine)
{
    vec4 c = transposed(coarse), f = transposed(fine);
    precise float acc = sum;
    uint same = gl_SubgroupInvocationID & ~(LANES - 1) | gl_SubgroupInvocationID & 3u;
    for (uint four = 0; four < LANES; four += 4) {
        for (uint i = 0; i < 4; i++) {
            acc = acc + c[i];
            acc = acc + f[i];
        }
        acc = subgroupShuffle(acc, same + four);
    }
    return acc;
}

/* The tree over eight lanes with an accumulator each, or over what is left of it with four. */
float tree_of(float sum, uint lanes)
{
    precise float acc = sum;
    for (uint apart = lanes / 2; apart > 0; apart /= 2)
        acc = acc + subgroupShuffleXor(acc, apart);
    return acc;
}

/* In ascending order the values of all invocations of the subgroup. */
float add_in_order(float sum, float value)
{
    precise float acc = sum;
    for (uint l = 0; l < gl_SubgroupSize; l++)
        acc = acc + subgroupShuffle(value, l);
    return acc;
}
