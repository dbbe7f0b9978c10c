# The runner of driver programs: once with the driver found at run time, once linked against it.
find_package(Threads REQUIRED)
add_library(op_runner_parts OBJECT op_runner_calls.cpp op_runner_graphs.cpp
            op_runner_program.cpp op_runner_world.cpp)
target_link_libraries(op_runner_parts PUBLIC fico_flags fico_cuda_headers Threads::Threads
                                             ${CMAKE_DL_LIBS})
foreach(runner op_runner op_runner_linked)
  add_executable(${runner} op_runner.cpp op_runner_driver.cpp)
  target_link_libraries(${runner} PRIVATE op_runner_parts)
endforeach()
target_compile_definitions(op_runner_linked PRIVATE FICO_OP_RUNNER_LINKED)
# The file is taken by its name, so that any libcuda.so.1 serves at run time.
target_link_libraries(op_runner_linked PRIVATE fico_emulator)
