# Tests of the device model, and of the emulated device, which they open at run time.
add_executable(device_test device_test.cpp)
target_link_libraries(device_test PRIVATE fico_device)

add_executable(emulator_test emulator_test.cpp emulator_graph_test.cpp emulator_sharing_test.cpp)
target_link_libraries(emulator_test PRIVATE fico_flags fico_cuda_headers ${CMAKE_DL_LIBS})
target_compile_definitions(emulator_test PRIVATE
  FICO_EMULATED_LIBRARY="$<TARGET_FILE:fico_emulator>")
add_dependencies(emulator_test fico_emulator)

# The emulated CUPTI, and a library that the driver loads for tools.
add_library(injected SHARED injected.cpp)
target_link_libraries(injected PRIVATE fico_flags fico_cuda_headers ${CMAKE_DL_LIBS})
find_package(Threads REQUIRED)
add_executable(emulator_cupti_test emulator_cupti_test.cpp)
target_link_libraries(emulator_cupti_test PRIVATE
  fico_flags fico_cupti_headers Threads::Threads ${CMAKE_DL_LIBS})
target_compile_definitions(emulator_cupti_test PRIVATE
  FICO_EMULATED_LIBRARY="$<TARGET_FILE:fico_emulator>"
  FICO_EMULATED_CUPTI="$<TARGET_FILE:fico_emulated_cupti>"
  FICO_INJECTED_LIBRARY="$<TARGET_FILE:injected>")
add_dependencies(emulator_cupti_test fico_emulator fico_emulated_cupti injected)
