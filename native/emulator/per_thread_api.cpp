// The per-thread default stream: every entry point that takes a stream once more, with the null
// stream meaning the stream of the calling thread.
#include <cuda.h>

namespace {

CUstream of_thread(CUstream stream) { return stream ? stream : CU_STREAM_PER_THREAD; }

}  // namespace

#define FICO_PER_THREAD(name, parameters, arguments) \
  CUresult name##_ptsz parameters { return name arguments; }

FICO_PER_THREAD(cuMemcpyAsync, (CUdeviceptr d, CUdeviceptr s, size_t n, CUstream t),
                (d, s, n, of_thread(t)))
FICO_PER_THREAD(cuMemcpyHtoDAsync_v2, (CUdeviceptr d, const void* s, size_t n, CUstream t),
                (d, s, n, of_thread(t)))
FICO_PER_THREAD(cuMemcpyDtoHAsync_v2, (void* d, CUdeviceptr s, size_t n, CUstream t),
                (d, s, n, of_thread(t)))
FICO_PER_THREAD(cuMemcpyDtoDAsync_v2, (CUdeviceptr d, CUdeviceptr s, size_t n, CUstream t),
                (d, s, n, of_thread(t)))
FICO_PER_THREAD(cuMemcpy2DAsync_v2, (const CUDA_MEMCPY2D* c, CUstream t), (c, of_thread(t)))
FICO_PER_THREAD(cuMemcpy3DAsync_v2, (const CUDA_MEMCPY3D* c, CUstream t), (c, of_thread(t)))
FICO_PER_THREAD(cuMemsetD8Async, (CUdeviceptr d, unsigned char v, size_t n, CUstream t),
                (d, v, n, of_thread(t)))
FICO_PER_THREAD(cuMemsetD16Async, (CUdeviceptr d, unsigned short v, size_t n, CUstream t),
                (d, v, n, of_thread(t)))
FICO_PER_THREAD(cuMemsetD32Async, (CUdeviceptr d, unsigned v, size_t n, CUstream t),
                (d, v, n, of_thread(t)))
FICO_PER_THREAD(cuMemsetD2D8Async,
                (CUdeviceptr d, size_t p, unsigned char v, size_t w, size_t h, CUstream t),
                (d, p, v, w, h, of_thread(t)))
FICO_PER_THREAD(cuMemsetD2D16Async,
                (CUdeviceptr d, size_t p, unsigned short v, size_t w, size_t h, CUstream t),
                (d, p, v, w, h, of_thread(t)))
FICO_PER_THREAD(cuMemsetD2D32Async,
                (CUdeviceptr d, size_t p, unsigned v, size_t w, size_t h, CUstream t),
                (d, p, v, w, h, of_thread(t)))
FICO_PER_THREAD(cuMemAllocAsync, (CUdeviceptr * d, size_t n, CUstream t), (d, n, of_thread(t)))
FICO_PER_THREAD(cuMemFreeAsync, (CUdeviceptr d, CUstream t), (d, of_thread(t)))
FICO_PER_THREAD(cuStreamGetPriority, (CUstream t, int* v), (of_thread(t), v))
FICO_PER_THREAD(cuStreamGetFlags, (CUstream t, unsigned* v), (of_thread(t), v))
FICO_PER_THREAD(cuStreamGetId, (CUstream t, unsigned long long* v), (of_thread(t), v))
FICO_PER_THREAD(cuStreamGetDevice, (CUstream t, CUdevice* v), (of_thread(t), v))
FICO_PER_THREAD(cuStreamGetCtx, (CUstream t, CUcontext* v), (of_thread(t), v))
FICO_PER_THREAD(cuStreamGetCtx_v2, (CUstream t, CUcontext* v, CUgreenCtx* g), (of_thread(t), v, g))
FICO_PER_THREAD(cuStreamGetAttribute, (CUstream t, CUstreamAttrID a, CUstreamAttrValue* v),
                (of_thread(t), a, v))
FICO_PER_THREAD(cuStreamSetAttribute, (CUstream t, CUstreamAttrID a, const CUstreamAttrValue* v),
                (of_thread(t), a, v))
FICO_PER_THREAD(cuStreamCopyAttributes, (CUstream d, CUstream s), (of_thread(d), of_thread(s)))
FICO_PER_THREAD(cuStreamQuery, (CUstream t), (of_thread(t)))
FICO_PER_THREAD(cuStreamSynchronize, (CUstream t), (of_thread(t)))
FICO_PER_THREAD(cuStreamWaitEvent, (CUstream t, CUevent e, unsigned f), (of_thread(t), e, f))
FICO_PER_THREAD(cuStreamAddCallback, (CUstream t, CUstreamCallback c, void* u, unsigned f),
                (of_thread(t), c, u, f))
FICO_PER_THREAD(cuStreamWaitValue32, (CUstream t, CUdeviceptr a, cuuint32_t v, unsigned f),
                (of_thread(t), a, v, f))
FICO_PER_THREAD(cuStreamWaitValue64, (CUstream t, CUdeviceptr a, cuuint64_t v, unsigned f),
                (of_thread(t), a, v, f))
FICO_PER_THREAD(cuStreamWriteValue32, (CUstream t, CUdeviceptr a, cuuint32_t v, unsigned f),
                (of_thread(t), a, v, f))
FICO_PER_THREAD(cuStreamWriteValue64, (CUstream t, CUdeviceptr a, cuuint64_t v, unsigned f),
                (of_thread(t), a, v, f))
FICO_PER_THREAD(cuStreamWaitValue32_v2, (CUstream t, CUdeviceptr a, cuuint32_t v, unsigned f),
                (of_thread(t), a, v, f))
FICO_PER_THREAD(cuStreamWaitValue64_v2, (CUstream t, CUdeviceptr a, cuuint64_t v, unsigned f),
                (of_thread(t), a, v, f))
FICO_PER_THREAD(cuStreamWriteValue32_v2, (CUstream t, CUdeviceptr a, cuuint32_t v, unsigned f),
                (of_thread(t), a, v, f))
FICO_PER_THREAD(cuStreamWriteValue64_v2, (CUstream t, CUdeviceptr a, cuuint64_t v, unsigned f),
                (of_thread(t), a, v, f))
FICO_PER_THREAD(cuEventRecord, (CUevent e, CUstream t), (e, of_thread(t)))
FICO_PER_THREAD(cuEventRecordWithFlags, (CUevent e, CUstream t, unsigned f), (e, of_thread(t), f))
FICO_PER_THREAD(cuLaunchHostFunc, (CUstream t, CUhostFn f, void* u), (of_thread(t), f, u))
FICO_PER_THREAD(cuLaunchKernel,
                (CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                 unsigned bz, unsigned shared, CUstream t, void** params, void** extra),
                (f, gx, gy, gz, bx, by, bz, shared, of_thread(t), params, extra))
FICO_PER_THREAD(cuLaunchCooperativeKernel,
                (CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                 unsigned bz, unsigned shared, CUstream t, void** params),
                (f, gx, gy, gz, bx, by, bz, shared, of_thread(t), params))
FICO_PER_THREAD(cuStreamBeginCapture_v2, (CUstream t, CUstreamCaptureMode m), (of_thread(t), m))
FICO_PER_THREAD(cuStreamBeginCaptureToGraph,
                (CUstream t, CUgraph g, const CUgraphNode* d, const CUgraphEdgeData* e, size_t n,
                 CUstreamCaptureMode m),
                (of_thread(t), g, d, e, n, m))
FICO_PER_THREAD(cuStreamEndCapture, (CUstream t, CUgraph* g), (of_thread(t), g))
FICO_PER_THREAD(cuStreamIsCapturing, (CUstream t, CUstreamCaptureStatus* s), (of_thread(t), s))
FICO_PER_THREAD(cuStreamGetCaptureInfo, (CUstream t, CUstreamCaptureStatus* s, cuuint64_t* id),
                (of_thread(t), s, id))
FICO_PER_THREAD(cuStreamGetCaptureInfo_v2,
                (CUstream t, CUstreamCaptureStatus* s, cuuint64_t* id, CUgraph* g,
                 const CUgraphNode** d, size_t* n),
                (of_thread(t), s, id, g, d, n))
FICO_PER_THREAD(cuStreamGetCaptureInfo_v3,
                (CUstream t, CUstreamCaptureStatus* s, cuuint64_t* id, CUgraph* g,
                 const CUgraphNode** d, const CUgraphEdgeData** e, size_t* n),
                (of_thread(t), s, id, g, d, e, n))
FICO_PER_THREAD(cuStreamUpdateCaptureDependencies,
                (CUstream t, CUgraphNode* d, size_t n, unsigned f), (of_thread(t), d, n, f))
FICO_PER_THREAD(cuStreamUpdateCaptureDependencies_v2,
                (CUstream t, CUgraphNode* d, const CUgraphEdgeData* e, size_t n, unsigned f),
                (of_thread(t), d, e, n, f))
FICO_PER_THREAD(cuGraphUpload, (CUgraphExec g, CUstream t), (g, of_thread(t)))
FICO_PER_THREAD(cuGraphLaunch, (CUgraphExec g, CUstream t), (g, of_thread(t)))
FICO_PER_THREAD(cuGraphInstantiateWithParams,
                (CUgraphExec * e, CUgraph g, CUDA_GRAPH_INSTANTIATE_PARAMS* p), (e, g, p))

CUresult cuLaunchKernelEx_ptsz(const CUlaunchConfig* config, CUfunction function, void** params,
                               void** extra) {
  if (!config) return CUDA_ERROR_INVALID_VALUE;
  CUlaunchConfig own = *config;
  own.hStream = of_thread(own.hStream);
  return cuLaunchKernelEx(&own, function, params, extra);
}
#undef FICO_PER_THREAD
