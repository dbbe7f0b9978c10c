add_library(deep_bound SHARED deep_bound.cpp)
target_link_libraries(deep_bound PRIVATE fico_flags ${CMAKE_DL_LIBS})
