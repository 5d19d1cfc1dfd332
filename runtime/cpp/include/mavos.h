/* Follows objects through videos with a bundle of mavos-deploy: frames in, label maps out.
 *
 * Every function that can fail returns a mavos_status. Its text goes to the mavos_error that the
 * caller gives, which may be NULL. Results go to the last arguments before it, and are written only
 * on success. No exception leaves the library, and it has no state outside of its handles.
 *
 * Handles are freed with their own function, which accepts NULL. Functions that take a segmenter
 * may run in several threads at once, also with the same segmenter; a handle must not be freed
 * while another thread uses it. Frames and states may outlive their segmenter, but serve it alone
 * or one of the same bundle.
 */
#ifndef MAVOS_H
#define MAVOS_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32) && defined(MAVOS_BUILDING)
#define MAVOS_API __declspec(dllexport)
#elif defined(_WIN32)
#define MAVOS_API __declspec(dllimport)
#else
#define MAVOS_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Raised with every change of this interface; a library serves all callers of older ones. */
#define MAVOS_ABI_VERSION 1

typedef enum mavos_status {
  MAVOS_OK = 0,
  MAVOS_INPUT_ERROR = 1,    /* a frame, mask, state, path or argument that can't be used */
  MAVOS_BUNDLE_ERROR = 2,   /* a bundle that is incomplete, altered or of an unknown version */
  MAVOS_BACKEND_ERROR = 3,  /* a provider, a GPU or an engine is missing, or a graph failed */
  MAVOS_OUT_OF_MEMORY = 4,
  MAVOS_INTERNAL_ERROR = 5  /* a bug of this library */
} mavos_status;

/* One line that names what was got, what is accepted and what to do; UTF-8, ends with a zero. */
typedef struct mavos_error {
  char text[1024];
} mavos_error;

typedef struct mavos_segmenter mavos_segmenter; /* an open bundle with its graphs */
typedef struct mavos_frame mavos_frame;         /* a checked and resized frame, on the CPU encoded */
typedef struct mavos_state mavos_state;         /* all that a video's next step depends on */

typedef enum mavos_pixels {
  MAVOS_RGB8 = 0, /* uint8, red first */
  MAVOS_BGR8 = 1, /* uint8, blue first, as OpenCV has it */
  MAVOS_RGB32F = 2 /* float32 in 0..255, red first */
} mavos_pixels;

/* A picture in the caller's memory, three values a pixel. */
typedef struct mavos_image {
  const void *data;
  int32_t height; /* pixels */
  int32_t width;  /* pixels */
  size_t stride;  /* bytes from one row to the next; 0 for rows without a gap */
  int32_t pixels; /* a mavos_pixels */
} mavos_image;

typedef struct mavos_options {
  size_t size;          /* sizeof(mavos_options), set by mavos_default_options */
  int32_t threads;      /* CPU threads of each graph; 0 takes all that this process may. Two graphs
                           run at once while a frame is prepared beside a step */
  const char *provider; /* ONNX Runtime's execution provider, such as "CUDA"; NULL is the CPU;
                           "tensorrt-gpu" runs the engines of the bundle */
  /* Options of the provider: names and values in turn, then NULL; NULL for none. */
  const char *const *provider_options;
  /* Whether nodes that another provider than the CPU lacks may run on the CPU. If not (0), a graph
   * with such nodes is refused. */
  int32_t allow_cpu_nodes;
} mavos_options;

/* Facts of an open bundle; the texts live as long as the segmenter. */
typedef struct mavos_about {
  size_t size;            /* sizeof(mavos_about), set by the caller */
  const char *variant;    /* name of the network */
  const char *identity;   /* equal for bundles whose states fit each other */
  const char *provider;   /* provider that runs the graphs */
  const char *arithmetic; /* type of the coarsest products: fp32, tf32, fp16, int8 */
  int32_t trained;        /* 0: made without a checkpoint, so that masks mean nothing */
  int32_t height;         /* frames in the network, in pixels */
  int32_t width;
  int32_t any_size;       /* 1: each video has its own size in the network, and these are typical */
  int32_t memory_gap;     /* frames between two writes to the long-term memory; 0: annotated ones
                             alone enter it */
} mavos_about;

MAVOS_API int32_t mavos_abi_version(void);
MAVOS_API const char *mavos_version(void);
MAVOS_API void mavos_default_options(mavos_options *options);

/* Open a bundle, check it whole (manifest, contract, hashes) and load its graphs.
 * options: NULL for the defaults. */
MAVOS_API mavos_status mavos_open(const char *path, const mavos_options *options,
                                  mavos_segmenter **segmenter, mavos_error *error);
MAVOS_API void mavos_segmenter_free(mavos_segmenter *segmenter);
MAVOS_API mavos_status mavos_segmenter_about(const mavos_segmenter *segmenter, mavos_about *about,
                                             mavos_error *error);

/* Height and width in the network of frames of a video, in pixels. */
MAVOS_API mavos_status mavos_input_size(const mavos_segmenter *segmenter, int32_t height,
                                        int32_t width, int32_t *input_height, int32_t *input_width,
                                        mavos_error *error);

/* Check a frame and resize it, and on the CPU also run the encoder, which may fail with
 * MAVOS_BACKEND_ERROR. It may run in another thread while a step runs. The picture is not needed any
 * more afterwards. The frame holds the encoder's results, some megabytes, until the segmenter that
 * prepared it uses it for the first time. It may be used again, also by several threads and by other
 * segmenters of the same bundle; they run the encoder themselves. */
MAVOS_API mavos_status mavos_frame_prepare(const mavos_segmenter *segmenter,
                                           const mavos_image *image, mavos_frame **frame,
                                           mavos_error *error);
MAVOS_API void mavos_frame_free(mavos_frame *frame);

/* Begin a video.
 * labels: the objects' ids in the first frame, height x width bytes without gaps; 0 is the
 * background, 255 is refused. */
MAVOS_API mavos_status mavos_start(const mavos_segmenter *segmenter, const mavos_frame *frame,
                                   const uint8_t *labels, mavos_state **state, mavos_error *error);

/* Segment the next frame.
 * state: the state after the frame before; it stays valid.
 * annotation: labels that are known for this frame, or NULL: those of new objects, and of known
 * ones, which they correct from this frame on. An annotated object has these pixels and no others,
 * and objects that aren't annotated stay as they were predicted. Where the memory drops an earlier
 * annotated frame for this one, the error's text says so, with MAVOS_OK.
 * labels: takes the objects' ids, height x width bytes.
 * next: takes the state after this frame. */
MAVOS_API mavos_status mavos_step(const mavos_segmenter *segmenter, const mavos_frame *frame,
                                  const mavos_state *state, const uint8_t *annotation,
                                  uint8_t *labels, mavos_state **next, mavos_error *error);

/* The state without some objects; their pixels go to what is next likely there. */
MAVOS_API mavos_status mavos_remove(const mavos_segmenter *segmenter, const mavos_state *state,
                                    const uint8_t *ids, size_t count, mavos_state **next,
                                    mavos_error *error);

/* States as values. A copy is cheap: tensors are shared, and never written to. Files are those of
 * mavos-deploy in Python. */
MAVOS_API mavos_status mavos_state_copy(const mavos_state *state, mavos_state **copy,
                                        mavos_error *error);
MAVOS_API mavos_status mavos_state_save(const mavos_state *state, const char *path,
                                        mavos_error *error);
MAVOS_API mavos_status mavos_state_load(const mavos_segmenter *segmenter, const char *path,
                                        mavos_state **state, mavos_error *error);
MAVOS_API void mavos_state_free(mavos_state *state);

/* Height and width of the video's frames, in pixels. */
MAVOS_API void mavos_state_size(const mavos_state *state, int32_t *height, int32_t *width);
MAVOS_API int64_t mavos_state_frame(const mavos_state *state); /* frames since the start */
/* Number of objects being followed; their ids go to the array, which has room for 255. */
MAVOS_API size_t mavos_state_objects(const mavos_state *state, uint8_t *ids);
/* The same for all ids that the memory has a place for, removed ones among them. */
MAVOS_API size_t mavos_state_ids(const mavos_state *state, uint8_t *ids);

#ifdef __cplusplus
}
#endif

#endif /* MAVOS_H */
