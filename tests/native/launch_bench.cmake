add_executable(launch_bench launch_bench.cpp)
target_link_libraries(launch_bench PRIVATE fico_flags fico_cuda_headers ${CMAKE_DL_LIBS})
