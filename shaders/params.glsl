/* params.glsl: hal/kernel_params.h and formats.h for shaders: where a parameter lies among the push constants (in words), where
 * things lie in the step buffer, enums. tests/kernels/shader_params.c compares every line with the headers. */
const uint STEP_N_ROWS = 0, STEP_N_OUT = 1, STEP_PAGE_STRIDE = 2;
const uint STEP_TOKEN = 16, STEP_POS = 528, STEP_SEQ = 1040, STEP_OUT = 1552, STEP_PAGES = 2064;
const uint ROWS_OF_STEP = 0, ROWS_OF_OUTPUT = 1;
const uint KV_PAGE = 32, ATTENTION_SPLIT = 256;
const uint Q8_WORDS = 19, Q8_COARSE = 1, Q8_FINE = 10; /* of a block; a plane is one word of sums and eight of columns */

const uint FMT_F32 = 1, FMT_F16 = 2, FMT_BF16 = 3, FMT_Q4_0 = 4, FMT_Q4_1 = 5, FMT_Q5_0 = 6, FMT_Q5_1 = 7, FMT_Q8_0 = 8;
const uint FMT_Q2_K = 9, FMT_Q3_K = 10, FMT_Q4_K = 11, FMT_Q5_K = 12, FMT_Q6_K = 13;

const uint EMBED_COLUMNS = 0, EMBED_N_IDS = 1, EMBED_SOURCE = 2, EMBED_FIRST = 3, EMBED_COUNT = 4;
const uint LINEAR_K = 0, LINEAR_ROWS = 2; /* a shader sees a launch of one segment */
const uint LINEAR_N = 4, LINEAR_FLAGS = 6, LINEAR_STRIDE = 7, LINEAR_BIAS = 1, LINEAR_RESIDUAL = 2;
const uint LINEAR_GLU = 3, LINEAR_GLU_KIND = 255, LINEAR_GLU_Q8 = 512;
const uint LINEAR_FIRST_ROW = 8; /* of an X-bit matrix; behind the segment (backends/vulkan/list.c) */
const uint STAGE_COLUMNS = 0, STAGE_BLOCKS = 1, STAGE_ROWS = 2;
const uint QUANTIZE_COLUMNS = 0, QUANTIZE_ROWS = 1;
const uint NORM_COLUMNS = 0, NORM_GROUPS = 1, NORM_ROWS = 2, NORM_FLAGS = 3, NORM_EPS = 4, NORM_WEIGHT = 1, NORM_BIAS = 2;
const uint ROPE_TABLE_N_ROT = 0, ROPE_TABLE_ATTN_FACTOR = 1;
const uint ROPE_HEADS = 0, ROPE_D_HEAD = 1, ROPE_N_ROT = 2, ROPE_LAYOUT = 3, ROPE_NORM = 0;
const uint KV_STORE_HEADS = 0, KV_STORE_D_HEAD = 1;
const uint ATTENTION_N_HEAD = 0, ATTENTION_N_HEAD_KV = 1, ATTENTION_D_K = 2, ATTENTION_D_V = 3, ATTENTION_WINDOW = 4;
const uint ATTENTION_SCALE = 6, ATTENTION_SOFTCAP = 7;
const uint UNARY_COLUMNS = 0, UNARY_ROWS = 1, UNARY_KIND = 2, UNARY_A = 3;
const uint UNARY_SILU = 0, UNARY_GELU = 1, UNARY_GELU_TANH = 2, UNARY_GELU_QUICK = 3, UNARY_RELU = 4, UNARY_RELU2 = 5;
const uint UNARY_SIGMOID = 6, UNARY_TANH = 7, UNARY_SCALE = 8, UNARY_SOFTCAP = 9;
const uint BINARY_COLUMNS = 0, BINARY_ROWS = 1, BINARY_KIND = 2, BINARY_BROADCAST = 3, BINARY_ADD = 0, BINARY_MUL = 1;
const uint GLU_COLUMNS = 0, GLU_ROWS = 1, GLU_KIND = 2;
const uint SELECT_COLUMNS = 0;

/* hal/xq.h, in words. */
const uint XQ_EXPONENT = 1, XQ_ROWS = 4, XQ_N_ROW_BLOCKS = 8, XQ_N_OUTLIERS = 10, XQ_OUTLIERS = 11, XQ_HALVES = 12, XQ_HEAD = 20;
const uint XQ_FIRST_ROW = 0, XQ_FIRST_SEGMENT = 1, XQ_N_GROUPED = 3, XQ_DATA = 4, XQ_STRIDE = 5, XQ_ROW_BLOCK_WORDS = 6;
const uint XQ_SEGMENT_WORDS = 2, XQ_UNIT = 32, XQ_TILE = 8, XQ_GROUP_BASE = 10, XQ_NO_COLUMN = 65535;
const uint XQ_INPUT_EXPONENT = 1, XQ_INPUT_BLOCKS = 5, XQ_INPUT_HEAD = 8;
