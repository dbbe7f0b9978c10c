# The target fico_cuda_headers: cuda.h and cudaTypedefs.h of CUDA 13.0 or newer, and nothing to link.
# An installed toolkit first, then the nvidia-cuda-runtime wheel beside the building Python.
find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Module OPTIONAL_COMPONENTS Development.SABIModule)
execute_process(
  COMMAND "${Python_EXECUTABLE}" -c
          "import sys, glob; print(';'.join(h for p in sys.path for h in glob.glob(p + '/nvidia/cu1*/include')))"
  OUTPUT_VARIABLE fico_wheel_includes OUTPUT_STRIP_TRAILING_WHITESPACE)
find_path(FICO_CUDA_INCLUDE cudaTypedefs.h
  HINTS ENV CUDA_HOME ENV CUDA_PATH
  PATHS /usr/local/cuda /usr/local/cuda-13.0 ${fico_wheel_includes}
  PATH_SUFFIXES include NO_DEFAULT_PATH)
if(NOT FICO_CUDA_INCLUDE)
  message(FATAL_ERROR "cudaTypedefs.h was not found: install the wheel 'nvidia-cuda-runtime==13.0.*' "
                      "beside ${Python_EXECUTABLE}, or set CUDA_HOME to a toolkit of CUDA 13.0")
endif()
file(STRINGS ${FICO_CUDA_INCLUDE}/cuda.h fico_cuda_version REGEX "^#define CUDA_VERSION +[0-9]+")
string(REGEX REPLACE "[^0-9]" "" fico_cuda_version "${fico_cuda_version}")
if(fico_cuda_version LESS 13000)
  message(FATAL_ERROR "${FICO_CUDA_INCLUDE} holds the headers of CUDA ${fico_cuda_version}, 13000 is needed: "
                      "set CUDA_HOME to a newer toolkit or unset it")
endif()
add_library(fico_cuda_headers INTERFACE)
target_include_directories(fico_cuda_headers SYSTEM INTERFACE ${FICO_CUDA_INCLUDE})
# The target fico_cupti_headers: cupti.h of the same release, from the same places.
find_path(FICO_CUPTI_INCLUDE cupti_activity.h
  HINTS ${FICO_CUDA_INCLUDE} ${FICO_CUDA_INCLUDE}/../extras/CUPTI/include
  PATHS /usr/local/cuda/extras/CUPTI/include ${fico_wheel_includes}
  NO_DEFAULT_PATH)
if(NOT FICO_CUPTI_INCLUDE)
  message(FATAL_ERROR "cupti_activity.h was not found: install the wheel 'nvidia-cuda-cupti==13.0.*' "
                      "beside ${Python_EXECUTABLE}, or set CUDA_HOME to a toolkit with CUPTI")
endif()
add_library(fico_cupti_headers INTERFACE)
target_include_directories(fico_cupti_headers SYSTEM INTERFACE ${FICO_CUPTI_INCLUDE})
target_link_libraries(fico_cupti_headers INTERFACE fico_cuda_headers)
