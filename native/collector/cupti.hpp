// The functions of CUPTI that the collector calls, found in the process or loaded.
#pragma once

#include <cupti.h>

namespace fico::collector {

struct Cupti {
  decltype(&::cuptiActivityRegisterCallbacks) register_callbacks;
  decltype(&::cuptiActivityEnable) enable;
  decltype(&::cuptiActivityDisable) disable;
  decltype(&::cuptiActivityFlushAll) flush;
  decltype(&::cuptiActivitySetAttribute) set_attribute;
  decltype(&::cuptiFinalize) finalize;
  decltype(&::cuptiActivityGetNextRecord) next_record;
  decltype(&::cuptiActivityGetNumDroppedRecords) dropped_records;
  decltype(&::cuptiGetResultString) result_string;

  // The copy that the program has loaded, if there is one: two do not work in one process. Else
  // that of FICO_CUPTI, else the loader's choice. nullptr if there is none or it lacks a function;
  // `why` then says so.
  static const Cupti* load(const char** why);
};

}  // namespace fico::collector
