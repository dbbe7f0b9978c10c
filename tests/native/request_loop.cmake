add_executable(request_loop request_loop.cpp op_runner_driver.cpp)
target_link_libraries(request_loop PRIVATE fico_flags fico_cuda_headers ${CMAKE_DL_LIBS})
