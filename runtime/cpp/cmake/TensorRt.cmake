# Sets TensorRT_INCLUDE_DIRS where TensorRT's headers are found and new enough; MAVOS_TENSORRT says how
# much they are wanted. The library itself is looked for when a program asks for it.
set(TensorRT_INCLUDE_DIRS "")
if(NOT MAVOS_TENSORRT STREQUAL "OFF")
  find_path(TensorRT_INCLUDE_DIR NvInferRuntime.h HINTS "${TENSORRT_ROOT}/include" "${TENSORRT_ROOT}"
            PATH_SUFFIXES "${CMAKE_LIBRARY_ARCHITECTURE}")
  find_path(CudaRuntime_INCLUDE_DIR cuda_runtime_api.h
            HINTS "${TensorRT_INCLUDE_DIR}" /usr/local/cuda/include)
  if(NOT TensorRT_INCLUDE_DIR)
    set(why "NvInferRuntime.h is missing: give -DTENSORRT_ROOT=FOLDER of a release, or apt-get install \
libnvinfer-headers-dev")
  elseif(NOT CudaRuntime_INCLUDE_DIR)
    set(why "TensorRT's headers need CUDA's cuda_runtime_api.h: apt-get install cuda-cudart-dev-<RELEASE>, \
or give -DCudaRuntime_INCLUDE_DIR=FOLDER")
  else()
    include(CheckCXXSourceCompiles)
    set(CMAKE_REQUIRED_INCLUDES "${TensorRT_INCLUDE_DIR}" "${CudaRuntime_INCLUDE_DIR}")
    unset(TensorRT_FITS CACHE)
    check_cxx_source_compiles("#include <NvInferRuntime.h>
      static_assert(NV_TENSORRT_MAJOR * 100 + NV_TENSORRT_MINOR >= 1001, \"too old\");
      int main() { return 0; }" TensorRT_FITS)
    unset(CMAKE_REQUIRED_INCLUDES)
    if(TensorRT_FITS)
      set(TensorRT_INCLUDE_DIRS "${TensorRT_INCLUDE_DIR}" "${CudaRuntime_INCLUDE_DIR}")
    else()
      set(why "the headers in ${TensorRT_INCLUDE_DIR} don't compile, or are older than TensorRT 10.1")
    endif()
  endif()
  if(TensorRT_INCLUDE_DIRS)
    message(STATUS "TensorRT's headers: ${TensorRT_INCLUDE_DIR}")
  elseif(MAVOS_TENSORRT STREQUAL "ON")
    message(FATAL_ERROR "MAVOS_TENSORRT is ON, but ${why}")
  else()
    message(STATUS "TensorRT is left out: ${why}")
  endif()
endif()
