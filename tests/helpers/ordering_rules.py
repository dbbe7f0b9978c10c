"""Small programs, one for each rule of CUDA's order: free of races, so their result is known.

In the language of op_runner (tests/native/op_runner_calls.cpp); streams s0 and s1 are blocking, s2
and s3 are not.
"""

RULES = {
    "one stream runs in order": """
        0 launch s2 plain mix d0 1
        0 memset_async s2 d1 32 9
        0 copy_async s2 d1 d0
        0 launch s2 ex mix2 d0 d1 2
        0 copy_unified s2 h0 d0
        0 host_function s2 h0 3
        0 copy_async s2 d2 h0
    """,
    "the ways to launch keep their order": """
        0 launch s2 plain mix d0 1
        0 launch s2 ex mix d0 2
        0 launch s2 priority mix d0 3
        0 launch s2 cluster mix d0 4
        0 launch s2 coop mix d0 5
        0 launch s2 coop_ex mix d0 6
        0 launch s2 coop_all mix d0 7
        0 launch s2 plain mix d0 8
    """,
    "legacy work waits for blocking streams": """
        0 launch s0 plain mix d0 1
        0 launch s1 plain mix d1 2
        0 launch null plain mix2 d0 d1 3
        0 launch legacy plain mix2 d1 d0 4
    """,
    "blocking streams wait for legacy work": """
        0 launch null plain mix d0 1
        0 launch s0 plain mix2 d1 d0 2
        0 launch s1 plain mix2 d2 d0 3
    """,
    "legacy work orders two blocking streams": """
        0 launch s0 plain mix d0 1
        0 memset_async null d3 32 5
        0 launch s1 plain mix2 d0 d1 2
        0 launch null plain mix2 d0 d3 3
        0 launch s0 plain mix d0 4
    """,
    "a legacy wait orders the blocking streams too": """
        0 launch s2 plain mix d0 1
        0 record e0 s2
        0 wait null e0
        0 launch s0 plain mix2 d1 d0 2
    """,
    "a synchronous copy is legacy work": """
        0 launch s0 plain mix d0 1
        0 copy legacy h0 d0
        0 host_mix h0 2
        0 copy legacy d1 h0
        0 launch s1 plain mix d1 3
        0 copy legacy d2 d1
        0 launch s0 plain mix2 d3 d2 4
    """,
    "a synchronous copy from pageable memory has read it": """
        0 launch s0 plain mix d0 1
        0 copy legacy d0 h2
        0 host_mix h2 2
        0 launch s1 plain mix2 d1 d0 3
        0 copy legacy h2 d1
        0 host_mix h2 4
    """,
    "a synchronous memset is legacy work": """
        0 launch s0 plain mix d0 1
        0 memset legacy d0 16 77
        0 launch s1 plain mix d0 3
    """,
    "a per-thread default stream is a blocking stream": """
        0 launch pt plain mix d0 1
        0 launch null plain mix2 d1 d0 2
        0 launch pt plain mix2 d0 d1 3
    """,
    "the entries for per-thread streams name that stream": """
        0 launch pt plain mix d0 1
        0 launch null@p plain mix d0 2
        0 launch pt@p ex mix d0 3
        0 copy @p h0 d0
        0 host_mix h0 4
        0 copy_async null@p d1 h0
        0 launch legacy@p plain mix2 d2 d1 5
        0 stream_sync null@p
    """,
    "a synchronous per-thread copy follows its own stream": """
        0 launch null@p plain mix d0 1
        0 copy @p h0 d0
        0 copy @p d1 h0
        0 memset @p d2 32 8
        0 launch pt plain mix2 d2 d1 2
    """,
    "every thread has a default stream of its own": """
        0 launch pt plain mix d0 1
        0 record e0 pt
        0 post p0
        1 await p0
        1 wait null@p e0
        1 launch pt plain mix2 d1 d0 2
        1 record e1 pt
        1 post p1
        0 await p1
        0 wait pt e1
        0 launch null@p plain mix2 d0 d1 3
    """,
    "an event orders two streams": """
        0 launch s2 plain mix d0 1
        0 record e0 s2
        0 wait s3 e0
        0 launch s3 plain mix2 d1 d0 2
    """,
    "a wait is for the record before it": """
        0 launch s2 plain mix d0 1
        0 record e0 s2
        0 wait s3 e0
        0 launch s3 plain mix2 d1 d0 2
        0 record e1 s3
        0 wait s2 e1
        0 launch s2 plain mix2 d0 d1 3
        0 record e0 s2
        0 wait s0 e0
        0 launch s0 plain mix2 d2 d0 4
    """,
    "a wait for an event that was never recorded does nothing": """
        0 wait s2 e0
        0 launch s2 plain mix d0 1
        0 event_sync e0
        0 event_query e0
    """,
    "an event may be destroyed while a stream waits for it": """
        0 launch s2 plain mix d0 1
        0 record e0 s2
        0 wait s3 e0
        0 event_destroy e0
        0 launch s3 plain mix2 d1 d0 2
    """,
    "a synchronised event is over": """
        0 launch s2 plain mix d0 1
        0 copy_async s2 h0 d0
        0 record e0 s2
        0 event_sync e0
        0 host_mix h0 2
        0 copy_async s2 h1 d0
        0 record e0 s2
        0 event_poll e0
        0 host_mix h1 3
    """,
    "a synchronised stream is idle": """
        0 launch s0 plain mix d0 1
        0 copy_async s0 h0 d0
        0 stream_sync s0
        0 host_mix h0 2
        0 copy_async s0 h1 d0
        0 stream_poll s0
        0 host_mix h1 3
    """,
    "a synchronised context is idle": """
        0 launch s0 plain mix d0 1
        0 copy_async s0 h0 d0
        0 launch s2 plain mix d1 2
        0 copy_async s2 h1 d1
        0 launch pt plain mix d2 3
        0 copy_async pt h3 d2
        0 ctx_sync
        0 host_mix h0 4
        0 host_mix h1 5
        0 host_mix h3 6
    """,
    "a stream may be destroyed while it is busy": """
        0 launch s2 plain mix d0 1
        0 copy_async s2 h0 d0
        0 record e0 s2
        0 stream_destroy s2
        0 wait s3 e0
        0 launch s3 plain mix2 d1 d0 2
        0 ctx_sync
        0 host_mix h0 3
    """,
    "streams come and go": """
        0 launch s2 plain mix d0 1
        0 record e0 s2
        0 stream_destroy s2
        0 stream_create s4 1 0
        0 wait s4 e0
        0 launch s4 plain mix d0 2
        0 record e0 s4
        0 stream_destroy s4
        0 stream_create s5 0 2
        0 wait s5 e0
        0 launch s5 plain mix d0 3
        0 stream_destroy s5
    """,
    "a host function is in order": """
        0 copy_async s2 h0 d0
        0 host_function s2 h0 1
        0 copy_async s2 d1 h0
        0 host_function s2 h0 2
    """,
    "a callback holds later work": """
        0 copy_async s0 h0 d0
        0 callback s0 h0 1
        0 copy_async s0 d1 h0
        0 callback null h0 2
    """,
    "memory of a stream is in order": """
        0 malloc_async s2 d6
        0 memset_async s2 d6 32 5
        0 launch s2 plain mix2 d0 d6 1
        0 free_async s2 d6
        0 malloc_async s2 d7
        0 memset_async s2 d7 32 6
        0 launch s2 plain mix2 d0 d7 2
        0 record e0 s2
        0 wait s3 e0
        0 launch s3 plain mix2 d7 d0 3
        0 copy_async s3 d1 d7
        0 free_async s3 d7
    """,
    "a written value orders two streams": """
        0 launch s2 plain mix d0 1
        0 write_value s2 0 3 7
        0 wait_value s3 0 3 7
        0 launch s3 plain mix2 d1 d0 2
    """,
    "a wait for a value may come first": """
        0 wait_value s3 0 3 7
        0 launch s3 plain mix2 d1 d1 2
        0 post p0
        1 await p0
        1 launch s2 plain mix d0 1
        1 write_value s2 0 3 7
    """,
    "an event orders streams of two contexts": """
        0 launch s2 plain mix d0 1
        0 copy_async s2 h0 d0
        0 record e0 s2
        0 context 1
        0 stream_create s4 1 0
        0 wait s4 e0
        0 copy_async s4 d4 h0
        0 launch s4 plain mix d4 2
        0 launch null plain mix d5 3
        0 ctx_sync
        0 launch s4 plain mix2 d4 d5 4
    """,
    "the legacy stream of one context leaves the other alone": """
        0 launch s0 plain mix d0 1
        0 context 1
        0 launch null plain mix d4 1
        0 stream_create s4 0 0
        0 launch s4 plain mix2 d5 d4 2
        0 launch null plain mix2 d4 d5 3
    """,
    "work of a thread that has ended goes on": """
        1 launch pt plain mix d0 1
        1 copy_async pt h0 d0
        1 post p0
        0 await p0
        0 ctx_sync
        0 host_mix h0 2
    """,
    "legacy work waits for the default streams of other threads": """
        1 launch pt plain mix d0 1
        1 post p0
        0 await p0
        0 launch null plain mix2 d1 d0 2
        0 post p1
        2 await p1
        2 launch pt plain mix2 d0 d1 3
    """,
    "a captured graph keeps the order of its stream": """
        0 begin_capture s2 global
        0 launch s2 plain mix d0 1
        0 launch s2 cluster mix2 d1 d0 2
        0 launch s2 coop mix d1 3
        0 memset_async s2 d0 8 3
        0 copy_async s2 h0 d1
        0 host_function s2 h0 3
        0 copy_async s2 d2 h0
        0 end_capture s2 g0
        0 instantiate x0 g0
        0 graph_launch x0 s2
        0 graph_launch x0 s2
        0 launch s2 plain mix2 d3 d2 4
    """,
    "a blocking stream may be captured": """
        0 launch s0 plain mix d0 1
        0 begin_capture s0 thread
        0 launch s0 plain mix d0 2
        0 end_capture s0 g0
        0 instantiate x0 g0
        0 launch null plain mix d0 3
        0 graph_launch x0 s0
        0 launch null plain mix d0 4
    """,
    "a non-blocking capture leaves the legacy stream alone": """
        0 begin_capture s2 relaxed
        0 launch s2 plain mix d0 2
        0 launch null plain mix d1 3
        0 launch s0 plain mix2 d2 d1 3
        0 end_capture s2 g0
        0 instantiate x0 g0
        0 graph_launch x0 null
    """,
    "the per-thread default stream may be captured": """
        0 begin_capture pt thread
        0 launch null@p plain mix d0 2
        0 end_capture pt g0
        0 instantiate x0 g0
        0 graph_launch x0 null@p
        0 launch pt plain mix d0 4
    """,
    "other streams fork from a capture and join it": """
        0 begin_capture s2 global
        0 launch s2 plain mix d0 1
        0 record e0 s2
        0 wait s3 e0
        0 wait s0 e0
        0 launch s3 plain mix2 d1 d0 2
        0 launch s0 plain mix2 d2 d0 3
        0 record e1 s3
        0 record e2 s0
        0 wait s2 e1
        0 wait s2 e2
        0 launch s2 plain mix2 d1 d2 4
        0 end_capture s2 g0
        0 instantiate x0 g0
        0 graph_launch x0 s2
        0 graph_launch x0 s2
    """,
    "streams are ordinary again after a capture": """
        0 launch s3 plain mix d1 9
        0 begin_capture s2 global
        0 record e0 s2
        0 wait s3 e0
        0 launch s3 plain mix d0 1
        0 record e1 s3
        0 wait s2 e1
        0 end_capture s2 g0
        0 launch s3 plain mix d1 2
        0 record e0 s3
        0 wait s2 e0
        0 launch s2 plain mix2 d0 d1 3
    """,
    "two threads capture at the same time": """
        0 begin_capture s2 thread
        0 post p0
        1 await p0
        1 begin_capture s3 thread
        1 launch s3 plain mix d1 2
        0 launch s2 plain mix d0 1
        1 end_capture s3 g1
        1 instantiate x1 g1
        1 graph_launch x1 s3
        1 post p1
        0 await p1
        0 end_capture s2 g0
        0 instantiate x0 g0
        0 graph_launch x0 s2
    """,
    "another thread may do anything during a relaxed capture": """
        0 begin_capture s2 relaxed
        0 launch s2 plain mix d0 1
        0 post p0
        1 await p0
        1 launch s3 plain mix d1 2
        1 stream_sync s3
        1 stream_create s4 1 0
        1 launch s4 plain mix d1 3
        1 event_create e5
        1 record e5 s4
        1 event_sync e5
        1 post p1
        0 await p1
        0 end_capture s2 g0
        0 instantiate x0 g0
        0 graph_launch x0 s2
    """,
    "another thread may launch during a global capture": """
        0 begin_capture s2 global
        0 launch s2 plain mix d0 1
        0 post p0
        1 await p0
        1 launch s3 plain mix d1 2
        1 record e1 s3
        1 wait s0 e1
        1 launch s0 plain mix2 d2 d1 3
        1 post p1
        0 await p1
        0 end_capture s2 g0
        0 instantiate x0 g0
        0 graph_launch x0 s2
    """,
    "launches of one graph follow each other on any stream": """
        0 begin_capture s2 global
        0 launch s2 plain mix d0 1
        0 launch s2 plain mix2 d1 d0 2
        0 end_capture s2 g0
        0 instantiate x0 g0
        0 graph_launch x0 s2
        0 graph_launch x0 s3
        0 graph_launch x0 s0
        0 graph_launch x0 pt
        0 graph_launch x0 s2
    """,
    "a graph is legacy work on the legacy stream": """
        0 graph_create g0
        0 node_kernel g0 0 - mix d0 1
        0 node_kernel g0 1 0 mix2 d1 d0 2
        0 instantiate x0 g0
        0 launch s0 plain mix d0 3
        0 graph_launch x0 null
        0 launch s1 plain mix2 d2 d1 4
    """,
    "a graph made by hand keeps its edges": """
        0 graph_create g0
        0 node_kernel g0 0 - mix d0 1
        0 node_memset g0 1 - d1 16 5
        0 node_copy g0 2 0 h0 d0
        0 node_host g0 3 2 h0 7
        0 node_copy g0 4 1,3 d1 h0
        0 node_empty g0 5 4
        0 node_kernel g0 6 5 mix2 d0 d1 2
        0 instantiate x0 g0
        0 graph_upload x0 s2
        0 graph_launch x0 s2
        0 launch s2 plain mix d0 2
        0 graph_launch x0 s2
    """,
    "a child graph is one node": """
        0 graph_create g0
        0 node_kernel g0 0 - mix d0 1
        0 node_kernel g0 1 0 mix d0 2
        0 graph_create g1
        0 node_kernel g1 0 - mix d0 3
        0 node_child g1 1 0 g0
        0 node_kernel g1 2 1 mix2 d1 d0 4
        0 graph_destroy g0
        0 instantiate x0 g1
        0 graph_launch x0 s2
    """,
    "a graph launched in a capture is a child": """
        0 graph_create g0
        0 node_kernel g0 0 - mix d0 1
        0 instantiate x0 g0
        0 begin_capture s2 global
        0 launch s2 plain mix d0 2
        0 graph_launch x0 s2
        0 launch s2 plain mix d0 3
        0 end_capture s2 g1
        0 instantiate x1 g1
        0 graph_launch x1 s3
    """,
    "an update is for the launches after it": """
        0 begin_capture s2 global
        0 launch s2 plain mix d0 1
        0 launch s2 plain mix2 d1 d0 2
        0 end_capture s2 g0
        0 instantiate x0 g0
        0 graph_launch x0 s2
        0 begin_capture s2 global
        0 launch s2 plain mix d0 3
        0 launch s2 plain mix2 d1 d0 4
        0 end_capture s2 g1
        0 exec_update x0 g1
        0 graph_launch x0 s2
    """,
    "changed parameters are for the launches after it": """
        0 graph_create g0
        0 node_kernel g0 0 - mix d0 1
        0 node_kernel g0 1 0 mix2 d1 d0 2
        0 instantiate x0 g0
        0 graph_launch x0 s2
        0 exec_set x0 g0 0 mix d0 5
        0 graph_launch x0 s2
        0 exec_set x0 g0 1 mix2 d1 d0 6
        0 graph_launch x0 s2
    """,
    "children and fills of instances are changed": """
        0 graph_create g0
        0 node_kernel g0 0 - mix d0 1
        0 graph_create g1
        0 node_memset g1 0 - d1 32 4
        0 node_child g1 1 0 g0
        0 node_kernel g1 2 1 mix2 d1 d0 2
        0 instantiate x0 g1
        0 graph_launch x0 s2
        0 graph_create g2
        0 node_kernel g2 0 - mix d0 3
        0 exec_child x0 g1 1 g2
        0 graph_launch x0 s2
        0 exec_memset x0 g1 0 d1 32 9
        0 graph_launch x0 s2
        0 exec_child x0 g1 1 g0
        0 graph_launch x0 s2
    """,
    "a synchronised context has run its graphs": """
        0 begin_capture s2 global
        0 launch s2 plain mix d0 1
        0 copy_async s2 h0 d0
        0 end_capture s2 g0
        0 instantiate x0 g0
        0 graph_launch x0 s2
        0 ctx_sync
        0 host_mix h0 2
        0 graph_launch x0 s2
        0 graph_launch x0 s2
        0 ctx_sync
        0 host_mix h0 3
    """,
    "a synchronised context has run the graphs of other threads": """
        0 begin_capture s2 global
        0 launch s2 plain mix d0 1
        0 copy_async s2 h0 d0
        0 end_capture s2 g0
        0 instantiate x0 g0
        0 begin_capture s3 global
        0 launch s3 plain mix d1 2
        0 copy_async s3 h1 d1
        0 end_capture s3 g1
        0 instantiate x1 g1
        0 post p0
        1 await p0
        1 graph_launch x1 s3
        1 post p1
        0 graph_launch x0 s2
        0 await p1
        0 ctx_sync
        0 host_mix h0 3
        0 host_mix h1 4
    """,
    "a synchronised context has run a graph that is destroyed": """
        0 graph_create g0
        0 node_kernel g0 0 - mix d0 1
        0 node_copy g0 1 0 h0 d0
        0 instantiate x0 g0
        0 graph_launch x0 s2
        0 exec_destroy x0
        0 ctx_sync
        0 host_mix h0 2
    """,
    "memory is given back when graphs have run": """
        0 malloc_async s2 d6
        0 memset_async s2 d6 32 5
        0 begin_capture s2 global
        0 launch s2 plain mix2 d0 d6 1
        0 copy_async s2 h0 d0
        0 end_capture s2 g0
        0 instantiate x0 g0
        0 graph_launch x0 s2
        0 free d6
        0 host_mix h0 2
    """,
    "a graph may be launched while another context is current": """
        0 begin_capture s2 global
        0 launch s2 plain mix d0 1
        0 copy_async s2 h0 d0
        0 end_capture s2 g0
        0 instantiate x0 g0
        0 context 1
        0 graph_launch x0 s2
        0 graph_launch x0 s3
        0 context 0
        0 ctx_sync
        0 host_mix h0 2
    """,
    "graphs may be destroyed while they run": """
        0 graph_create g0
        0 node_kernel g0 0 - mix d0 1
        0 node_kernel g0 1 0 mix2 d1 d0 2
        0 instantiate x0 g0
        0 graph_destroy g0
        0 graph_launch x0 s2
        0 exec_destroy x0
        0 launch s2 plain mix d1 3
    """,
    "a forked child that leaves at once changes nothing": """
        0 launch s2 plain mix d0 1
        0 fork_child none
        0 launch s2 plain mix d0 2
    """,
}
