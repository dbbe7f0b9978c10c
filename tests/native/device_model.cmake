add_executable(gpu_test gpu_test.cpp)
target_link_libraries(gpu_test PRIVATE fico_device)

# The closed loop that the model is calibrated with (benchmarks/calibrate_model.py).
add_executable(closed_loop closed_loop.cpp)
target_link_libraries(closed_loop PRIVATE fico_device)
