/* splits.c: a list with more work than a watchdog bears goes to the driver in several submissions, and does what it says. */
#include "backends/vulkan/vk.h"

#include <stdio.h>
#include <string.h>

#define FILLS 20u
#define BYTES (UINT64_C(64) << 20)

static PFN_vkQueueSubmit real_submit;
static uint32_t n_submissions;

static VkResult VKAPI_CALL count_submission(VkQueue queue, uint32_t n, const VkSubmitInfo *info, VkFence fence)
{
    n_submissions++;
    return real_submit(queue, n, info, fence);
}

static void wrap(struct vk_instance *instance, struct vk_device_fns *device)
{
    (void)instance;
    if (!device)
        return;
    real_submit = device->QueueSubmit;
    device->QueueSubmit = count_submission;
}

static bl_status run(bl_queue *queue, bl_buffer *buffer, bl_buffer *readback, bl_list *list)
{
    uint64_t value;
    for (uint32_t f = 0; f < FILLS; f++)
        BL_TRY(bl_list_fill(list, buffer, 0, BYTES, f, NULL, NULL));
    BL_TRY(bl_list_copy(list, readback, 0, buffer, BYTES - 4, 4, NULL, NULL));
    BL_TRY(bl_list_end(list));
    BL_TRY(bl_queue_submit(queue, list, NULL, 0, &value));
    return bl_queue_wait(queue, value, BL_WAIT_FOREVER);
}

int main(void)
{
    vk_wrap = wrap;
    bl_device_params params;
    bl_device *device;
    bl_queue *queue = NULL;
    bl_buffer *buffer = NULL, *readback = NULL;
    bl_list *list = NULL;
    bl_device_default_params(&params);
    params.device = "vulkan:0";
    if (bl_device_open(&params, &device) != BL_OK) {
        printf("SKIP %s\n", bl_error_text());
        return 77;
    }
    bl_status status = bl_queue_create(device, BL_QUEUE_COMPUTE, &queue);
    if (status == BL_OK)
        status = bl_buffer_create(device, &(bl_buffer_params){BYTES, BL_MEM_DEVICE, NULL, "filled"}, &buffer);
    if (status == BL_OK)
        status = bl_buffer_create(device, &(bl_buffer_params){4, BL_MEM_READBACK, NULL, "last"}, &readback);
    if (status == BL_OK)
        status = bl_list_begin(device, 0, &list);
    if (status == BL_OK)
        status = run(queue, buffer, readback, list);
    uint32_t last = 0;
    if (status == BL_OK)
        memcpy(&last, bl_buffer_host(readback), 4);
    else
        printf("%s\n", bl_error_text());
    /* 20 x 64 MiB at 10 GB/s are 134 ms: two submissions of at most 100 ms. */
    printf("%u submissions, last word %u\n", n_submissions, last);
    bl_list_destroy(list);
    bl_buffer_destroy(readback);
    bl_buffer_destroy(buffer);
    bl_queue_destroy(queue);
    bl_device_close(device);
    return !(status == BL_OK && n_submissions == 2 && last == FILLS - 1);
}
