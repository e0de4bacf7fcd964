/* weights.h: the tensors of a model file as device memory. One buffer imports the mapped file where the device can, and nothing is copied;
 * else the tensors that the graph reads are copied. Vectors (norms, biases) that are not f32 in the file are converted once into a small
 * buffer of their own. */
#ifndef BL_MODEL_WEIGHTS_H
#define BL_MODEL_WEIGHTS_H
#include "graph/graph.h"
#include "model/model_file.h"

struct bl_weights;
/* Borrows file and device. `graph` says which tensors are read, and which of them as vectors. */
bl_status bl_weights_create(const struct bl_model_file *file, bl_device *device, const struct bl_graph *graph, struct bl_weights **out) BL_MUST_USE;
void bl_weights_destroy(struct bl_weights *weights);
/* The callback of struct bl_emit_target; user is the bl_weights. */
bl_status bl_weights_bind(void *user, const struct bl_weight *weight, bool as_vector, bl_binding *out) BL_MUST_USE;
/* Bytes of device memory that the matrices of nodes first .. end would take there; 0 where they are imported. */
uint64_t bl_weights_needed(const struct bl_model_file *file, bl_device *device, const struct bl_graph *graph, uint32_t first, uint32_t end);
/* Bytes of memory beside the file. */
uint64_t bl_weights_copied_bytes(const struct bl_weights *weights);
#endif
