/* The second part of tools/host_cuda.c: streams, events, captured graphs, and where functions are. */

#include "host_cuda.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Streams and events ------------------------------------------------------------------------ */

CUresult cuStreamCreate(CUstream *handle, unsigned int flags)
{
    NEED_CONTEXT;
    if (flags != CU_STREAM_NON_BLOCKING)
        BAD("it would wait for the default stream", CUDA_ERROR_INVALID_VALUE);
    *handle = (CUstream)object_add(STREAM);
    return CUDA_SUCCESS;
}

CUresult cuStreamDestroy(CUstream handle)
{
    NEED_CONTEXT;
    NEED(stream, handle, STREAM);
    object_end(stream);
    return CUDA_SUCCESS;
}

CUresult cuStreamSynchronize(CUstream handle)
{
    NEED_CONTEXT;
    NEED(stream, handle, STREAM);
    if (stream->recording) BAD("it is being captured", CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    return CUDA_SUCCESS;
}

CUresult cuStreamQuery(CUstream handle) { return cuStreamSynchronize(handle); }

CUresult cuStreamWaitEvent(CUstream handle, CUevent which, unsigned int flags)
{
    NEED_CONTEXT;
    NEED(stream, handle, STREAM);
    NEED(event, which, EVENT);
    if (flags) BAD("flags must be 0", CUDA_ERROR_INVALID_VALUE);
    if (event->captured || stream->recording)
        BAD("a capture would reach over to another stream", CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
    return CUDA_SUCCESS;
}

CUresult cuEventCreate(CUevent *handle, unsigned int flags)
{
    NEED_CONTEXT;
    if (flags & ~(unsigned int)(CU_EVENT_DISABLE_TIMING | CU_EVENT_BLOCKING_SYNC))
        BAD("unknown flags", CUDA_ERROR_INVALID_VALUE);
    *handle = (CUevent)object_add(EVENT);
    return CUDA_SUCCESS;
}

CUresult cuEventDestroy(CUevent handle)
{
    NEED_CONTEXT;
    NEED(event, handle, EVENT);
    object_end(event);
    return CUDA_SUCCESS;
}

CUresult cuEventRecord(CUevent handle, CUstream on)
{
    NEED_CONTEXT;
    NEED(event, handle, EVENT);
    NEED(stream, on, STREAM);
    event->captured = stream->recording != NULL;
    return CUDA_SUCCESS;
}

CUresult cuEventSynchronize(CUevent handle)
{
    NEED_CONTEXT;
    NEED(event, handle, EVENT);
    if (event->captured) BAD("it was captured", CUDA_ERROR_CAPTURED_EVENT);
    return CUDA_SUCCESS;
}

CUresult cuEventQuery(CUevent handle) { return cuEventSynchronize(handle); }

/* ---- Capture and graphs ------------------------------------------------------------------------ */

CUresult host_cuda_enqueue(CUstream handle, long kernel)
{
    NEED_CONTEXT;
    NEED(stream, handle, STREAM);
    Object *graph = stream->recording;
    if (!graph) {
        run_kernel(kernel);
        return CUDA_SUCCESS;
    }
    graph->kernels = realloc(graph->kernels, (graph->size + 1) * sizeof *graph->kernels);
    graph->kernels[graph->size++] = kernel;
    return CUDA_SUCCESS;
}

CUresult cuStreamBeginCapture(CUstream handle, CUstreamCaptureMode mode)
{
    NEED_CONTEXT;
    NEED(stream, handle, STREAM);
    if (mode != CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
        BAD("other threads would be stopped", CUDA_ERROR_INVALID_VALUE);
    if (stream->recording) BAD("it is being captured", CUDA_ERROR_ILLEGAL_STATE);
    stream->recording = object_add(GRAPH);
    stream->recorder = pthread_self();
    recordings++;
    return CUDA_SUCCESS;
}

CUresult cuStreamEndCapture(CUstream handle, CUgraph *graph)
{
    NEED_CONTEXT;
    NEED(stream, handle, STREAM);
    if (!stream->recording) BAD("it isn't being captured", CUDA_ERROR_ILLEGAL_STATE);
    if (!pthread_equal(stream->recorder, pthread_self()))
        BAD("another thread began", CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
    *graph = (CUgraph)stream->recording;
    stream->recording = NULL;
    recordings--;
    return CUDA_SUCCESS;
}

CUresult cuGraphGetNodes(CUgraph handle, CUgraphNode *nodes, size_t *count)
{
    NEED_INIT;
    NEED(graph, handle, GRAPH);
    if (nodes) BAD("only their number is known", CUDA_ERROR_NOT_SUPPORTED);
    *count = graph->size;
    return CUDA_SUCCESS;
}

CUresult cuGraphInstantiate(CUgraphExec *executable, CUgraph handle, unsigned long long flags)
{
    NEED_CONTEXT;
    NEED(graph, handle, GRAPH);
    if (flags) BAD("flags must be 0", CUDA_ERROR_INVALID_VALUE);
    Object *made_of = object_add(EXECUTABLE);
    made_of->size = graph->size;
    made_of->kernels = malloc((graph->size + 1) * sizeof *graph->kernels);
    if (graph->size) memcpy(made_of->kernels, graph->kernels, graph->size * sizeof *graph->kernels);
    *executable = (CUgraphExec)made_of;
    return CUDA_SUCCESS;
}

CUresult cuGraphDestroy(CUgraph handle)
{
    NEED_INIT;
    NEED(graph, handle, GRAPH);
    object_end(graph);
    return CUDA_SUCCESS;
}

CUresult cuGraphLaunch(CUgraphExec handle, CUstream on)
{
    NEED_CONTEXT;
    NEED(stream, on, STREAM);
    NEED(executable, handle, EXECUTABLE);
    if (stream->recording) BAD("it is being captured", CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    __atomic_add_fetch(&launched, 1, __ATOMIC_RELAXED);
    for (size_t i = 0; i < executable->size && !dead; i++) run_kernel(executable->kernels[i]);
    return CUDA_SUCCESS;
}

CUresult cuGraphExecDestroy(CUgraphExec handle)
{
    NEED_INIT;
    NEED(executable, handle, EXECUTABLE);
    object_end(executable);
    return CUDA_SUCCESS;
}

/* ---- Errors, and where functions are ----------------------------------------------------------- */

CUresult cuGetErrorString(CUresult result, const char **text)
{
    *text = result == CUDA_SUCCESS               ? "no error"
            : result == CUDA_ERROR_OUT_OF_MEMORY ? "out of memory"
            : result == CUDA_ERROR_LAUNCH_FAILED ? "unspecified launch failure"
                                                 : "another error";
    return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult result, const char **name)
{
    *name = result == CUDA_SUCCESS               ? "CUDA_SUCCESS"
            : result == CUDA_ERROR_OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY"
            : result == CUDA_ERROR_LAUNCH_FAILED ? "CUDA_ERROR_LAUNCH_FAILED"
                                                 : "CUDA_ERROR";
    return CUDA_SUCCESS;
}

CUresult cuGetProcAddress_v2(const char *name, void **function, int version, cuuint64_t flags,
                             CUdriverProcAddressQueryResult *status)
{
    (void)version, (void)flags;
    static const char *const suffixes[] = {"WithFlags", "_v4", "_v3", "_v2", ""};
    void *self = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    *function = NULL;
    for (size_t i = 0; self && !*function && i < sizeof suffixes / sizeof *suffixes; i++) {
        char whole[128];
        snprintf(whole, sizeof whole, "%s%s", name, suffixes[i]);
        *function = dlsym(self, whole);
    }
    if (self) dlclose(self);
    if (status)
        *status = *function ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return *function ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

#undef cuGetProcAddress
CUresult cuGetProcAddress(const char *name, void **function, int version, cuuint64_t flags)
{
    return cuGetProcAddress_v2(name, function, version, flags, NULL);
}
