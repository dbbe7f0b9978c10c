# What a decision of the scheduler costs; benchmarks/decisions.py runs it.
add_executable(decision_bench decision_bench.cpp)
target_link_libraries(decision_bench PRIVATE fico_sched)
