/* What the parts of tools/host_cuda.c share. */

#ifndef HOST_CUDA_H
#define HOST_CUDA_H

#define _GNU_SOURCE
#include <cuda.h>
#include <pthread.h>
#include <stddef.h>

#pragma GCC visibility push(hidden)

typedef enum { MEMORY, PINNED, STREAM, EVENT, GRAPH, EXECUTABLE, KINDS } Kind;

typedef struct Object {
    struct Object *next;
    Kind kind;
    int alive;
    unsigned generation;      /* of the context that it belongs to */
    char *base;               /* of memory */
    size_t size;              /* bytes of memory, kernels of a graph */
    long *kernels;            /* of a graph */
    struct Object *recording; /* graph that a stream records; NULL when it records nothing */
    pthread_t recorder;
    int captured; /* whether an event was recorded by a stream that records */
} Object;

typedef struct {
    CUcontext context;
    unsigned generation;
} Entry; /* of a thread's stack of contexts */

extern int initialised;
extern int active;          /* whether the primary context exists */
extern unsigned generation; /* counts the lives of the primary context */
extern CUresult dead;       /* sticky error of a kernel that failed; CUDA_SUCCESS where none did */
extern long launched;       /* graphs */
extern __thread Entry stack[];
extern __thread int depth;
extern __thread int recordings; /* streams that this thread records */

/* Make an object of the current context. */
Object *object_add(Kind kind);
/* The living object with a handle; NULL where there is none. */
Object *object_find(const void *handle, Kind kind);
/* The living block that holds all of a range; NULL where there is none. */
Object *object_around(const void *start, size_t size, Kind kind);
void object_end(Object *object);
/* Run a kernel; its fault shows in later calls. */
void run_kernel(long kernel);
/* Print and count a bad call, and return its result. */
CUresult bad(const char *call, const char *what, CUresult result);

#pragma GCC visibility pop

#define BAD(what, result) return bad(__func__, what, result)
#define NEED_INIT \
    if (!initialised) return CUDA_ERROR_NOT_INITIALIZED
#define NEED_CONTEXT                                                              \
    NEED_INIT;                                                                    \
    if (!depth) BAD("no context is current", CUDA_ERROR_INVALID_CONTEXT);         \
    if (!active || stack[depth - 1].generation != generation)                     \
        BAD("the current context is destroyed", CUDA_ERROR_CONTEXT_IS_DESTROYED); \
    if (dead) return dead
#define NEED(object, handle, what)                        \
    Object *object = object_find((void *)(handle), what); \
    if (!object) BAD("no such " #what, CUDA_ERROR_INVALID_HANDLE)

#endif
