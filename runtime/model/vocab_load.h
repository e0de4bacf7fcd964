/* vocab_load.h: from the metadata of a model file to a tokenizer. */
#ifndef BL_MODEL_VOCAB_LOAD_H
#define BL_MODEL_VOCAB_LOAD_H
#include "model/model_file.h"

#include <bitloom/tokenizer.h>

/* The tokenizer borrows texts from the file: close it later than the tokenizer. */
bl_status bl_vocab_tokenizer_create(const struct bl_model_file *file, bl_tokenizer **out) BL_MUST_USE;
#endif
