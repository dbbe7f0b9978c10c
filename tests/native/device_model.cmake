add_executable(gpu_test gpu_test.cpp)
target_link_libraries(gpu_test PRIVATE fico_device)
