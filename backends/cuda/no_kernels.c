/* no_kernels.c: stands in for the fat binary in a build without nvcc. A driver refuses it. */
#include "cuda.h"

const unsigned char cu_image[] = "bitloom was built without nvcc: there are no CUDA kernels in it";
const bool cu_image_has_kernels = false;
