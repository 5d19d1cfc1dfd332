/* A CUDA driver made of host memory: libcuda.so.1 for tests on machines without a GPU.

   It has the calls that PyCUDA and CUDA's Python bindings make for this project, and checks them as
   the real one would, or harder. Contexts have a stack for each thread. Memory is aligned to 256
   bytes and filled with 0xFF, which is NaN. Streams run their work at once. Capture records the work,
   and a launched graph repeats it. A handle that was destroyed is never given out again, so its use
   is found. What would be undefined on a GPU is a bad call: it is printed, counted and refused.

   A kernel is a number that the program enqueues with host_cuda_enqueue; running it calls the
   program back. Functions named host_cuda_* are for the program that tests. */

#include "host_cuda.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 256 /* bytes, as CUDA's own allocations */
#define DEPTH 64      /* contexts on the stack of a thread */

/* ---- What exists ---------------------------------------------------------------------------- */

int initialised, active;
unsigned generation;
CUresult dead;
long launched;
__thread Entry stack[DEPTH];
__thread int depth, recordings;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Object *objects; /* all that ever were, so that a stale handle is known as one */
static struct CUctx_st { int unused; } primary;
static int retained;    /* holds on the primary context */
static long fault_in;   /* kernels until the next fault; 0 where none is planned */
static int quiet_stack; /* whether the calls on stacks of contexts leave sticky errors to others */
static int survives;    /* whether a sticky error outlives the context */
static size_t limit = (size_t)8 << 30, used;
static long made[KINDS], ended[KINDS], bad_calls, resets, copies_up, copies_down;
static void (*kernels)(long);

CUresult bad(const char *call, const char *what, CUresult result)
{
    __atomic_add_fetch(&bad_calls, 1, __ATOMIC_RELAXED);
    fprintf(stderr, "host_cuda: %s: %s\n", call, what);
    return result;
}

Object *object_add(Kind kind)
{
    Object *object = calloc(1, sizeof *object);
    object->kind = kind;
    object->alive = 1;
    pthread_mutex_lock(&lock);
    object->generation = generation;
    object->next = objects;
    objects = object;
    made[kind]++;
    pthread_mutex_unlock(&lock);
    return object;
}

Object *object_find(const void *handle, Kind kind)
{
    Object *found = NULL;
    pthread_mutex_lock(&lock);
    for (Object *o = objects; o && !found; o = o->next)
        if (o == handle && o->kind == kind && o->alive && o->generation == generation) found = o;
    pthread_mutex_unlock(&lock);
    return found;
}

Object *object_around(const void *start, size_t size, Kind kind)
{
    Object *found = NULL;
    const char *from = start;
    pthread_mutex_lock(&lock);
    for (Object *o = objects; o && !found; o = o->next)
        if (o->kind == kind && o->alive && o->base <= from && from + size <= o->base + o->size)
            found = o;
    pthread_mutex_unlock(&lock);
    return found;
}

void object_end(Object *object)
{
    pthread_mutex_lock(&lock);
    object->alive = 0;
    ended[object->kind]++;
    if (object->kind == MEMORY) used -= object->size;
    free(object->base);
    free(object->kernels);
    object->base = NULL;
    object->kernels = NULL;
    pthread_mutex_unlock(&lock);
}

/* The primary context ends, and all that belongs to it. */
static void destroy_primary(void)
{
    for (Object *o = objects; o; o = o->next)
        if (o->alive) object_end(o);
    active = 0;
    if (!survives) dead = CUDA_SUCCESS;
}

/* ---- For the program that tests -------------------------------------------------------------- */

void host_cuda_kernels(void (*run)(long)) { kernels = run; }
void host_cuda_limit(size_t bytes) { limit = bytes; }
void host_cuda_quiet_stack(int quiet) { quiet_stack = quiet; }
void host_cuda_fault_survives(int whether) { survives = whether; }

/* Let a kernel fail: the next one for 1, the one that has run last for 0. */
void host_cuda_fault_in(long kernels_from_now)
{
    fault_in = kernels_from_now;
    if (!fault_in) dead = CUDA_ERROR_LAUNCH_FAILED;
}

int host_cuda_is_stream(const void *handle) { return object_find(handle, STREAM) != NULL; }

int host_cuda_holds(const void *address, size_t size)
{
    return object_around(address, size, MEMORY) != NULL;
}

long host_cuda_count(const char *name)
{
    const struct { const char *name; long value; } counts[] = {
        {"blocks", made[MEMORY] - ended[MEMORY]},
        {"blocks made", made[MEMORY]},
        {"bytes", (long)used},
        {"pinned", made[PINNED] - ended[PINNED]},
        {"streams", made[STREAM] - ended[STREAM]},
        {"events", made[EVENT] - ended[EVENT]},
        {"graphs", made[GRAPH] - ended[GRAPH] + made[EXECUTABLE] - ended[EXECUTABLE]},
        {"captured", made[EXECUTABLE]},
        {"launched", launched},
        {"depth", depth},
        {"retained", retained},
        {"resets", resets},
        {"bad calls", bad_calls},
        {"copies up", copies_up},
        {"copies down", copies_down},
    };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (!strcmp(counts[i].name, name)) return counts[i].value;
    return -1;
}

void run_kernel(long kernel)
{
    kernels(kernel);
    if (fault_in && !--fault_in) dead = CUDA_ERROR_LAUNCH_FAILED;
}

/* ---- Device and contexts ---------------------------------------------------------------------- */

CUresult cuInit(unsigned int flags)
{
    if (flags) BAD("flags must be 0", CUDA_ERROR_INVALID_VALUE);
    initialised = 1;
    return CUDA_SUCCESS;
}

CUresult cuDriverGetVersion(int *version)
{
    *version = CUDA_VERSION;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *count)
{
    NEED_INIT;
    *count = 1;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    NEED_INIT;
    if (ordinal) return CUDA_ERROR_INVALID_DEVICE;
    *device = 0;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char *name, int size, CUdevice device)
{
    NEED_INIT;
    if (device) return CUDA_ERROR_INVALID_DEVICE;
    snprintf(name, (size_t)size, "Host memory");
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device)
{
    NEED_INIT;
    if (device) return CUDA_ERROR_INVALID_DEVICE;
    if (attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) *value = 8;
    else if (attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR) *value = 6;
    else *value = 1;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)
{
    NEED_INIT;
    if (device) return CUDA_ERROR_INVALID_DEVICE;
    if (!active) {
        active = 1;
        generation++;
    }
    retained++;
    *context = &primary;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device)
{
    NEED_INIT;
    if (device) return CUDA_ERROR_INVALID_DEVICE;
    if (!retained) BAD("released more often than retained", CUDA_ERROR_INVALID_CONTEXT);
    if (!--retained) destroy_primary();
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxReset(CUdevice device)
{
    NEED_INIT;
    if (device) return CUDA_ERROR_INVALID_DEVICE;
    resets++;
    destroy_primary();
    return CUDA_SUCCESS;
}

static CUresult sticky(void) { return quiet_stack ? CUDA_SUCCESS : dead; }

CUresult cuCtxPushCurrent(CUcontext context)
{
    NEED_INIT;
    if (context != &primary || !active) BAD("no such context", CUDA_ERROR_INVALID_CONTEXT);
    if (sticky()) return sticky();
    if (depth == DEPTH) BAD("the stack is full", CUDA_ERROR_INVALID_CONTEXT);
    stack[depth].context = context;
    stack[depth++].generation = generation;
    return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent(CUcontext *context)
{
    NEED_INIT;
    if (!depth) BAD("no context is current", CUDA_ERROR_INVALID_CONTEXT);
    if (sticky()) return sticky(); /* and it stays where it is */
    *context = stack[--depth].context;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext *context)
{
    NEED_INIT;
    *context = depth ? stack[depth - 1].context : NULL;
    return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext context)
{
    NEED_INIT;
    if (!context) {
        depth -= depth > 0;
        return CUDA_SUCCESS;
    }
    if (context != &primary || !active) BAD("no such context", CUDA_ERROR_INVALID_CONTEXT);
    depth += !depth;
    stack[depth - 1].context = context;
    stack[depth - 1].generation = generation;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice *device)
{
    NEED_CONTEXT;
    *device = 0;
    return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize(void)
{
    NEED_CONTEXT;
    if (recordings) BAD("a stream is being captured", CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    return CUDA_SUCCESS;
}

/* ---- Memory ----------------------------------------------------------------------------------- */

static CUresult allocate(char **base, size_t size, Kind kind)
{
    if (!size) return CUDA_ERROR_INVALID_VALUE;
    if (recordings) return bad("allocation", "a stream is being captured",
                               CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    void *memory;
    if (kind == MEMORY && used + size > limit) return CUDA_ERROR_OUT_OF_MEMORY;
    if (posix_memalign(&memory, ALIGNMENT, size)) return CUDA_ERROR_OUT_OF_MEMORY;
    memset(memory, 0xFF, size);
    Object *block = object_add(kind);
    block->base = *base = memory;
    block->size = size;
    if (kind == MEMORY) __atomic_add_fetch(&used, size, __ATOMIC_RELAXED);
    return CUDA_SUCCESS;
}

static CUresult give_back(const void *address, Kind kind)
{
    Object *block = object_around(address, 1, kind);
    if (!block || block->base != address)
        return bad("free", "no block begins there", CUDA_ERROR_INVALID_VALUE);
    memset(block->base, 0xFF, block->size); /* whoever still reads it gets no old values */
    object_end(block);
    return CUDA_SUCCESS;
}

CUresult cuMemAlloc(CUdeviceptr *address, size_t size)
{
    NEED_CONTEXT;
    char *base = NULL;
    CUresult result = allocate(&base, size, MEMORY);
    *address = (CUdeviceptr)(uintptr_t)base;
    return result;
}

CUresult cuMemFree(CUdeviceptr address)
{
    NEED_CONTEXT;
    return give_back((void *)(uintptr_t)address, MEMORY);
}

CUresult cuMemGetInfo(size_t *left, size_t *total)
{
    NEED_CONTEXT;
    *left = limit > used ? limit - used : 0;
    *total = limit;
    return CUDA_SUCCESS;
}

CUresult cuMemHostAlloc(void **address, size_t size, unsigned int flags)
{
    NEED_CONTEXT;
    (void)flags;
    char *base = NULL;
    CUresult result = allocate(&base, size, PINNED);
    *address = base;
    return result;
}

CUresult cuMemFreeHost(void *address)
{
    NEED_CONTEXT;
    return give_back(address, PINNED);
}

static CUresult copy(const char *call, CUdeviceptr device, void *host, size_t size, CUstream handle,
                     int up)
{
    void *address = (void *)(uintptr_t)device;
    Object *stream = object_find(handle, STREAM);
    if (!stream) return bad(call, "no such stream", CUDA_ERROR_INVALID_HANDLE);
    if (stream->recording) return bad(call, "captured", CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    if (!object_around(address, size, MEMORY))
        return bad(call, "the range is in no block of memory", CUDA_ERROR_INVALID_VALUE);
    if (!object_around(host, size, PINNED)) /* CUDA would wait for the copy */
        return bad(call, "the host's memory isn't pinned", CUDA_ERROR_INVALID_VALUE);
    memcpy(up ? address : host, up ? host : address, size);
    __atomic_add_fetch(up ? &copies_up : &copies_down, 1, __ATOMIC_RELAXED);
    return CUDA_SUCCESS;
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t size, CUstream stream)
{
    NEED_CONTEXT;
    return copy(__func__, to, (void *)from, size, stream, 1);
}

CUresult cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t size, CUstream stream)
{
    NEED_CONTEXT;
    return copy(__func__, from, to, size, stream, 0);
}
