/* attention_tile.cuh: attention for many rows: 32 rows of one sequence and head share every page of keys and values, which comes through shared
 * memory as floats, 128 columns at a time, one piece ahead of the sums. The same bits as attention.cuh: a lane has a position when scores are
 * added up and a column when values are; a warp has four rows. The launch has a block per row and head: the first row of 32 works for all of
 * them where they are of one sequence; else every block works for its own. */
#ifndef BL_CUDA_ATTENTION_TILE_CUH
#define BL_CUDA_ATTENTION_TILE_CUH
#include "cuda/attention.cuh"

#define BL_TILE_ROWS 32u
#define BL_TILE_FEWEST 4u    /* rows for which it pays */
#define BL_TILE_ITEMS 4u     /* rows of a warp */
#define BL_TILE_COLUMNS 128u /* of a piece */
#define BL_TILE_STRIDE 132u  /* floats from position to position: eight lanes' 16 bytes lie on different banks */
#define BL_TILE_PIECE (BL_KV_PAGE * BL_TILE_STRIDE)
#define BL_TILE_PIECES 2u    /* of a head, at most */
static_assert(BL_TILE_ROWS == BL_ATTENTION_WARPS * BL_TILE_ITEMS && BL_KV_PAGE == 32, "a lane per position and row");
static_assert(2 * BL_TILE_PIECE >= BL_ATTENTION_WARPS * BL_HEAD_MOST, "the memory serves attention_of_row too");

/* A row of a warp, and where its softmax is. */
struct bl_tile_item {
    const float *q;
    uint32_t position, begin, mask; /* mask: positions of the page that are in range; 0 where none is, or the row is not there */
    float m, l, factor;             /* of the running split; factor: what the page makes of the sums before it */
    bl_merged all;
};

/* Columns c0 .. c0 + 127 of the 32 positions of a page. */
template <int FORMAT>
__device__ __forceinline__ void bl_tile_stage(const void *pages, size_t place, uint32_t d, uint32_t c0, SHARED_PARAMETER(float) tiles, uint32_t at)
{
    const uint32_t n = bl_min(BL_TILE_COLUMNS, d - c0);
    if (d % 8 == 0 && reinterpret_cast<uintptr_t>(pages) % 16 == 0) {
        for (uint32_t i = threadIdx.x; i < n / 8 * BL_KV_PAGE; i += blockDim.x) {
            const uint32_t j = i / (n / 8), c = i % (n / 8) * 8;
            float x[8];
            bl_load_kv8<FORMAT>(pages, (place + j) * d + c0 + c, x);
            BL_STORE4(tiles, at + j * BL_TILE_STRIDE + c, x);
            BL_STORE4(tiles, at + j * BL_TILE_STRIDE + c + 4, x + 4);
        }
        return;
    }
    for (uint32_t i = threadIdx.x; i < n * BL_KV_PAGE; i += blockDim.x) {
        const uint32_t j = i / n, c = i % n;
        tiles[at + j * BL_TILE_STRIDE + c] = bl_load_kv<FORMAT>(pages, (place + j) * d + c0 + c);
    }
}

/* Adds a piece of q . k of the lane's position to the eight accumulators of each row. */
__device__ __forceinline__ void bl_tile_scores(const bl_tile_item (&items)[BL_TILE_ITEMS], uint32_t d, uint32_t c0, SHARED_PARAMETER(float) tiles,
                                               uint32_t at, float (&s)[BL_TILE_ITEMS][8])
{
    const uint32_t n = bl_min(BL_TILE_COLUMNS, d - c0), line = at + threadIdx.x % 32 * BL_TILE_STRIDE;
    const bool is_aligned = d % 4 == 0 && reinterpret_cast<uintptr_t>(items[0].q) % 16 == 0;
    uint32_t c = 0;
    for (; c + 8 <= n; c += 8) {
        float k[8];
        BL_LOAD4(tiles, line + c, k);
        BL_LOAD4(tiles, line + c + 4, k + 4);
#pragma unroll
        for (uint32_t i = 0; i < BL_TILE_ITEMS; i++) {
            float q[8];
            if (is_aligned) {
                bl_load_kv8<BL_FMT_F32>(items[i].q, c0 + c, q);
            } else {
#pragma unroll
                for (uint32_t e = 0; e < 8; e++)
                    q[e] = items[i].q[c0 + c + e];
            }
#pragma unroll
            for (uint32_t e = 0; e < 8; e++)
                s[i][e] = s[i][e] + q[e] * k[e];
        }
    }
#pragma unroll
    for (uint32_t e = 0; e < 8; e++)
        if (c + e < n) {
            const float k = tiles[line + c + e];
#pragma unroll
            for (uint32_t i = 0; i < BL_TILE_ITEMS; i++)
                s[i][e] = s[i][e] + items[i].q[c0 + c + e] * k;
        }
}

/* The page's part of a row's softmax, from the sums of its scores; returns the lane's position's weight. */
__device__ __forceinline__ float bl_tile_softmax(const bl_params_attention &p, bl_tile_item &item, const float (&s)[8])
{
    const uint32_t lane = threadIdx.x % 32;
    const bool is_in = item.mask >> lane & 1u;
    const float total = (((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))) * p.scale;
    const float score = p.softcap > 0 ? p.softcap * tanh_f32(total / p.softcap) : total;
    float largest = is_in ? max_f32(score, item.m) : item.m;
    for (uint32_t distance = 16; distance > 0; distance /= 2)
        largest = max_f32(__shfl_xor_sync(0xffffffffu, largest, distance), largest);
    const float e = is_in ? exp_f32(score - largest) : 0.0f;
    item.factor = exp_f32(item.m - largest);
    float sum = __shfl_sync(0xffffffffu, e, lane % 8);
#pragma unroll
    for (uint32_t i = 1; i < 4; i++)
        sum = sum + __shfl_sync(0xffffffffu, e, lane % 8 + 8 * i);
    item.l = item.l * item.factor + bl_tree8(sum);
    item.m = largest;
    return e;
}

/* Adds the page's values to the sums of four columns of each row: those of the piece that are the lane's. weights: of the warp's rows. */
__device__ __forceinline__ void bl_tile_values(const bl_tile_item (&items)[BL_TILE_ITEMS], uint32_t n, SHARED_PARAMETER(float) tiles, uint32_t at,
                                               SHARED_PARAMETER(float) weights, uint32_t first, float (&acc)[BL_TILE_ITEMS][4])
{
    const uint32_t lane = threadIdx.x % 32;
    uint32_t any = 0;
#pragma unroll
    for (uint32_t i = 0; i < BL_TILE_ITEMS; i++) {
        any |= items[i].mask;
#pragma unroll
        for (uint32_t c = 0; c < 4; c++)
            acc[i][c] = items[i].mask ? acc[i][c] * items[i].factor : acc[i][c];
    }
#pragma unroll 4
    for (uint32_t j = 0; j < BL_KV_PAGE; j++) {
        if (!(any >> j & 1u))
            continue;
        float w[BL_TILE_ITEMS], v[4];
        BL_LOAD4(weights, first + 4 * j, w);
#pragma unroll
        for (uint32_t c = 0; c < 4; c++)
            v[c] = lane + 32 * c < n ? tiles[at + j * BL_TILE_STRIDE + lane + 32 * c] : 0.0f;
#pragma unroll
        for (uint32_t i = 0; i < BL_TILE_ITEMS; i++)
            if (items[i].mask >> j & 1u) {
#pragma unroll
                for (uint32_t c = 0; c < 4; c++)
                    acc[i][c] = acc[i][c] + w[i] * v[c];
            }
    }
}

/* The rows from `first` on, of one sequence. */
template <int FORMAT, bool TO_Q8>
__device__ __forceinline__ void bl_attention_of_tile(const bl_cuda_args &args, uint32_t first, uint32_t rows, SHARED_PARAMETER(float) tiles,
                                                     SHARED_PARAMETER(float) weights)
{
    const bl_params_attention &p = bl_push<bl_params_attention>(args);
    const uint32_t head = blockIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32, group = head / (p.n_head / p.n_head_kv);
    const uint32_t split_pages = BL_ATTENTION_SPLIT / BL_KV_PAGE, k_pieces = (p.d_k + BL_TILE_COLUMNS - 1) / BL_TILE_COLUMNS;
    const uint32_t v_pieces = (p.d_v + BL_TILE_COLUMNS - 1) / BL_TILE_COLUMNS, pieces = k_pieces + v_pieces;
    bl_tile_item items[BL_TILE_ITEMS];
    uint32_t page, last_page;
    { /* of all rows: a lane has one */
        const uint32_t position = bl_step(args, (uint32_t)BL_STEP_POS + first + bl_min(lane, rows - 1));
        page = (p.window && position + 1 > p.window ? position + 1 - p.window : 0) / BL_KV_PAGE;
        last_page = position / BL_KV_PAGE;
        for (uint32_t distance = 16; distance > 0; distance /= 2) {
            const uint32_t other = __shfl_xor_sync(0xffffffffu, last_page, distance);
            page = bl_min(page, __shfl_xor_sync(0xffffffffu, page, distance));
            last_page = other > last_page ? other : last_page;
        }
    }
#pragma unroll
    for (uint32_t i = 0; i < BL_TILE_ITEMS; i++) {
        bl_tile_item &item = items[i];
        const uint32_t row = first + bl_min(warp * BL_TILE_ITEMS + i, rows - 1);
        item.q = bl_binding<const float>(args, 1) + ((size_t)row * p.n_head + head) * p.d_k;
        item.position = bl_step(args, (uint32_t)BL_STEP_POS + row);
        item.begin = p.window && item.position + 1 > p.window ? item.position + 1 - p.window : 0;
        item.m = -bl_bits_f32(0x7f800000u);
        item.l = 0;
        item.all = {0, 0};
    }
    float acc[BL_TILE_PIECES][BL_TILE_ITEMS][4] = {};
    volatile float total[BL_TILE_PIECES][BL_TILE_ITEMS][4]; /* in memory: touched once in eight pages */
    const auto stage = [&](uint32_t of_page, uint32_t piece, uint32_t turn) {
        const size_t place = ((size_t)bl_page(args, first, of_page * BL_KV_PAGE) * p.n_head_kv + group) * BL_KV_PAGE;
        const uint32_t at = turn % 2 * BL_TILE_PIECE;
        if (piece < k_pieces)
            bl_tile_stage<FORMAT>(args.binding[2], place, p.d_k, piece * BL_TILE_COLUMNS, tiles, at);
        else
            bl_tile_stage<FORMAT>(args.binding[3], place, p.d_v, (piece - k_pieces) * BL_TILE_COLUMNS, tiles, at);
    };
    uint32_t turn = 0; /* pieces so far: which half of the memory */
    const auto stage_next = [&](uint32_t piece) {
        if (piece + 1 < pieces)
            stage(page, piece + 1, turn + 1);
        else if (page < last_page)
            stage(page + 1, 0, turn + 1);
    };
    stage(page, 0, 0);
    __syncthreads();
    for (; page <= last_page; page++) {
        uint32_t any = 0;
#pragma unroll
        for (uint32_t i = 0; i < BL_TILE_ITEMS; i++) {
            bl_tile_item &item = items[i];
            const uint32_t from = page == item.begin / BL_KV_PAGE ? item.begin % BL_KV_PAGE : 0;
            const uint32_t to = page == item.position / BL_KV_PAGE ? item.position % BL_KV_PAGE : BL_KV_PAGE - 1;
            const bool has = warp * BL_TILE_ITEMS + i < rows && page >= item.begin / BL_KV_PAGE && page <= item.position / BL_KV_PAGE;
            item.mask = has ? 0xffffffffu >> (31 - to + from) << from : 0u;
            any |= item.mask;
        }
        float s[BL_TILE_ITEMS][8] = {};
        for (uint32_t piece = 0; piece < k_pieces; piece++, turn++) {
            stage_next(piece);
            if (any)
                bl_tile_scores(items, p.d_k, piece * BL_TILE_COLUMNS, tiles, turn % 2 * BL_TILE_PIECE, s);
            if (any && piece + 1 == k_pieces) {
#pragma unroll
                for (uint32_t i = 0; i < BL_TILE_ITEMS; i++) {
                    const float e = items[i].mask ? bl_tile_softmax(p, items[i], s[i]) : 0.0f;
                    weights[(warp * 32 + lane) * BL_TILE_ITEMS + i] = e;
                }
            }
            __syncthreads();
        }
#pragma unroll
        for (uint32_t v = 0; v < BL_TILE_PIECES; v++)
            if (v < v_pieces) {
                stage_next(k_pieces + v);
                if (any)
                    bl_tile_values(items, bl_min(BL_TILE_COLUMNS, p.d_v - v * BL_TILE_COLUMNS), tiles, turn % 2 * BL_TILE_PIECE, weights,
                                   warp * 32 * BL_TILE_ITEMS, acc[v]);
                turn++;
                __syncthreads();
            }
#pragma unroll
        for (uint32_t i = 0; i < BL_TILE_ITEMS; i++) { /* the end of a split, or of the row */
            bl_tile_item &item = items[i];
            if (!item.mask || ((page + 1) % split_pages != 0 && page != item.position / BL_KV_PAGE))
                continue;
            const bool is_first = page / split_pages == item.begin / BL_ATTENTION_SPLIT;
            float old, added;
            bl_merge(item.all, item.m, item.l, is_first, old, added);
#pragma unroll
            for (uint32_t v = 0; v < BL_TILE_PIECES; v++)
#pragma unroll
                for (uint32_t c = 0; c < 4; c++) {
                    total[v][i][c] = is_first ? acc[v][i][c] : total[v][i][c] * old + acc[v][i][c] * added;
                    acc[v][i][c] = 0;
                }
            item.m = -bl_bits_f32(0x7f800000u);
            item.l = 0;
        }
    }
#pragma unroll
    for (uint32_t i = 0; i < BL_TILE_ITEMS; i++) {
        if (warp * BL_TILE_ITEMS + i >= rows) /* the same for the whole warp */
            continue;
        const size_t at = ((size_t)(first + warp * BL_TILE_ITEMS + i) * p.n_head + head) * p.d_v;
#pragma unroll
        for (uint32_t block = 0; block < 4 * BL_TILE_PIECES; block++) {
            const uint32_t c = 32 * block + lane;
            const float y = c < p.d_v ? total[block / 4][i][block % 4] * (1.0f / items[i].all.l) : 0.0f;
            if (TO_Q8 && 32 * block < p.d_v)
                bl_quantize_warp(y, lane, bl_binding<bl_q8_block>(args, 4) + at / 32 + block);
            else if (!TO_Q8 && c < p.d_v)
                bl_binding<float>(args, 4)[at + c] = y;
        }
    }
}

template <int FORMAT, bool TO_Q8> __device__ __forceinline__ void bl_attention_tile(const bl_cuda_args &args)
{
    SHARED(float, tiles, 2 * BL_TILE_PIECE);
    SHARED(float, weights, BL_HEAD_MOST);
    static_assert(BL_HEAD_MOST == BL_TILE_ROWS * BL_KV_PAGE, "the memory serves attention_of_row too");
    const bl_params_attention &p = bl_push<bl_params_attention>(args);
    const uint32_t m = bl_rows(args, BL_ROWS_OF_STEP), first = blockIdx.y / BL_TILE_ROWS * BL_TILE_ROWS;
    if (blockIdx.y >= m)
        return;
    const uint32_t rows = bl_min(BL_TILE_ROWS, m - first), row = first + bl_min(threadIdx.x % 32, rows - 1);
    const bool differs = bl_step(args, (uint32_t)BL_STEP_SEQ + row) != bl_step(args, (uint32_t)BL_STEP_SEQ + first);
    const bool is_tile = __ballot_sync(0xffffffffu, differs) == 0 && rows >= BL_TILE_FEWEST && p.d_k <= BL_TILE_PIECES * BL_TILE_COLUMNS &&
                         p.d_v <= BL_TILE_PIECES * BL_TILE_COLUMNS;
    if (!is_tile)
        bl_attention_of_row<FORMAT, TO_Q8>(args, tiles, weights);
    else if (blockIdx.y == first)
        bl_attention_of_tile<FORMAT, TO_Q8>(args, first, rows, tiles, weights);
}
#endif
