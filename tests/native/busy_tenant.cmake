add_executable(busy_tenant busy_tenant.cpp op_runner_driver.cpp)
target_link_libraries(busy_tenant PRIVATE fico_flags fico_cuda_headers ${CMAKE_DL_LIBS})
