// The one name of CUDA's runtime that TensorRT's interface uses; see NvInferRuntime.h beside it.
#pragma once

struct CUstream_st;
using cudaStream_t = CUstream_st*;
