#include "emulator/capture.hpp"
#include "emulator/work.hpp"
namespace fico::emulator {
void capture_work(Runtime&, Stream&, Work) { fail(CUDA_ERROR_NOT_SUPPORTED); }
void capture_record(Runtime&, Stream&, Event&, bool) { fail(CUDA_ERROR_NOT_SUPPORTED); }
void capture_wait(Runtime&, Stream&, Event&, bool) { fail(CUDA_ERROR_NOT_SUPPORTED); }
void refuse_captured_event(Runtime&, Event&) {}
void drop_from_capture(Runtime&, Stream&) {}
}  // namespace fico::emulator
