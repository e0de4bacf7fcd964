/* bitloom/bitloom.h: the whole public API.
 *
 *   tier 1   model.h + generate.h         open a model, make a sequence, generate text
 *   tier 2   tokenizer.h sampler.h        text to ids and back, forward to logits, sampling
 *            model.h (bl_forward) file.h  looking into files
 *   tier 3   device.h                     devices, buffers, queues, lists
 *
 * Start: docs in each header; a program of 40 lines is in tools/example.c. */
#ifndef BITLOOM_BITLOOM_H
#define BITLOOM_BITLOOM_H
#include <bitloom/device.h>
#include <bitloom/file.h>
#include <bitloom/generate.h>
#include <bitloom/log.h>
#include <bitloom/model.h>
#include <bitloom/sampler.h>
#include <bitloom/status.h>
#include <bitloom/tokenizer.h>

/* "0.1.0" */
#ifdef __cplusplus
extern "C"
#endif
BL_API const char *bl_version(void);
#endif
