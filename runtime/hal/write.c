/* write.c: host bytes into any buffer, through a small staging ring where the buffer has no host address. Uses the public calls only; knows
 * no back end. */
#include "base/error.h"
#include "hal/core.h"

#include <string.h>

#define STAGE_BYTES (UINT64_C(8) << 20) /* of each half: one is filled while the other is copied */

struct stage {
    bl_buffer *buffer;
    bl_list *list;  /* of the chunk that was last copied from here */
    uint64_t value; /* when that copy is complete */
};

static bl_status copy_chunk(bl_buffer *to, uint64_t offset, const void *data, uint64_t bytes, bl_queue *queue, struct stage *stage)
{
    BL_TRY(bl_queue_wait(queue, stage->value, BL_WAIT_FOREVER));
    bl_list_destroy(stage->list);
    stage->list = NULL;
    memcpy(bl_buffer_host(stage->buffer), data, (size_t)bytes);
    BL_TRY(bl_buffer_sync(stage->buffer, 0, bytes, true));
    BL_TRY(bl_list_begin(to->device, 0, &stage->list));
    BL_TRY(bl_list_copy(stage->list, to, offset, stage->buffer, 0, bytes, NULL, NULL));
    BL_TRY(bl_list_end(stage->list));
    return bl_queue_submit(queue, stage->list, NULL, 0, &stage->value);
}

static bl_status copy_chunks(bl_buffer *to, uint64_t offset, const char *data, uint64_t bytes, bl_queue *queue, struct stage *stages)
{
    const bl_buffer_params params = {.bytes = bytes < STAGE_BYTES ? bytes : STAGE_BYTES, .kind = BL_MEM_UPLOAD, .label = "staging"};
    for (uint32_t s = 0; s < 2; s++)
        BL_TRY(bl_buffer_create(to->device, &params, &stages[s].buffer));
    uint32_t turn = 0;
    for (uint64_t at = 0; at < bytes; at += STAGE_BYTES, turn ^= 1)
        BL_TRY(copy_chunk(to, offset + at, data + at, bytes - at < STAGE_BYTES ? bytes - at : STAGE_BYTES, queue, &stages[turn]));
    for (uint32_t s = 0; s < 2; s++)
        BL_TRY(bl_queue_wait(queue, stages[s].value, BL_WAIT_FOREVER));
    return BL_OK;
}

bl_status bl_buffer_write(bl_buffer *buffer, uint64_t offset, const void *data, uint64_t bytes)
{
    bl_errors_clear();
    REQUIRE_OBJECT(buffer);
    REQUIRE(data || !bytes, "bl_buffer_write: data is NULL");
    REQUIRE(buffer->kind != BL_MEM_READBACK && buffer->kind != BL_MEM_IMPORT_HOST, "bl_buffer_write: \"%s\" is not for writing",
            buffer->core->label);
    REQUIRE(offset <= buffer->bytes && bytes <= buffer->bytes - offset, "bl_buffer_write: offset %llu + bytes %llu > %llu, the size of \"%s\"",
            (unsigned long long)offset, (unsigned long long)bytes, (unsigned long long)buffer->bytes, buffer->core->label);
    if (!bytes)
        return BL_OK;
    if (buffer->host) {
        memcpy((char *)buffer->host + offset, data, (size_t)bytes);
        return bl_buffer_sync(buffer, offset, bytes, true);
    }
    bl_queue *queue = NULL;
    struct stage stages[2] = {0};
    BL_TRY(bl_queue_create(buffer->device, BL_QUEUE_TRANSFER, &queue));
    bl_status status = copy_chunks(buffer, offset, data, bytes, queue, stages);
    /* After a failure: nothing may be under way when the queue goes. The slot, because the call would clear what is already said. */
    if (status != BL_OK && !atomic_load(&buffer->device->core->lost))
        (void)buffer->device->fns->queue_wait(queue, queue->submitted, BL_WAIT_FOREVER);
    for (uint32_t s = 0; s < 2; s++) {
        bl_list_destroy(stages[s].list);
        bl_buffer_destroy(stages[s].buffer);
    }
    bl_queue_destroy(queue);
    return status;
}
