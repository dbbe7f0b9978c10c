#include "hook/graph_nodes.hpp"

#include <mutex>
#include <set>

#include "hook/kernels.hpp"

namespace fico::hook {
namespace {

const cuda::Driver& d() { return cuda::driver(); }

template <class Action>
struct Finally {
  Action action;
  explicit Finally(Action a) : action(a) {}
  ~Finally() { action(); }
  Finally(const Finally&) = delete;
  Finally& operator=(const Finally&) = delete;
};

// The neighbours of a node on one side, with the data of the edges.
struct Neighbours {
  std::vector<CUgraphNode> nodes;
  std::vector<CUgraphEdgeData> edges;
};

template <class List>
bool list_neighbours(List list, CUgraphNode node, Neighbours& found) {
  std::size_t count = 0;
  if (list(node, nullptr, nullptr, &count) != CUDA_SUCCESS) return false;
  found.nodes.resize(count);
  found.edges.resize(count);
  return count == 0 || list(node, found.nodes.data(), found.edges.data(), &count) == CUDA_SUCCESS;
}

// Lets nodes come after `node`.
bool connect(CUgraph graph, CUgraphNode node, const Neighbours& after) {
  const std::vector<CUgraphNode> from(after.nodes.size(), node);
  return after.nodes.empty() ||
         d().graph_add_dependencies(graph, from.data(), after.nodes.data(), after.edges.data(),
                                    after.nodes.size()) == CUDA_SUCCESS;
}

// The attributes of a kernel node, as a launch takes them.
std::vector<CUlaunchAttribute> attributes_of(CUgraphNode node) {
  std::vector<CUlaunchAttribute> attributes;
  for (const CUlaunchAttributeID id :
       {CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW, CU_LAUNCH_ATTRIBUTE_COOPERATIVE,
        CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION,
        CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE, CU_LAUNCH_ATTRIBUTE_PRIORITY,
        CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP, CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN,
        CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT}) {
    CUlaunchAttribute attribute{};
    attribute.id = id;
    if (d().graph_kernel_attribute(node, id, &attribute.value) != CUDA_SUCCESS) continue;
    const auto& cluster = attribute.value.clusterDim;
    // No cluster reads back as 0 or 1, and a launch takes neither for "none".
    if (id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION && cluster.x * cluster.y * cluster.z <= 1)
      continue;
    if (id == CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW &&
        attribute.value.accessPolicyWindow.num_bytes == 0) {
      continue;
    }
    attributes.push_back(attribute);
  }
  return attributes;
}

CUstream capture_stream(cuda::Partition& partition) {
  if (partition.capture == nullptr && d().green_stream(&partition.capture, partition.green,
                                                       CU_STREAM_NON_BLOCKING, 0) != CUDA_SUCCESS) {
    partition.capture = nullptr;
  }
  return partition.capture;
}

bool set_priority(CUgraphNode node, int priority) {
  CUlaunchAttributeValue value{};
  value.priority = priority;
  return d().graph_kernel_attribute_set != nullptr &&
         d().graph_kernel_attribute_set(node, CU_LAUNCH_ATTRIBUTE_PRIORITY, &value) == CUDA_SUCCESS;
}

// Puts a kernel that is known by its CUfunction alone (modules loaded with cuModuleLoad: Triton,
// CuPy) to another context: only a launch can do that, so it is captured into the graph in the
// node's place.
bool replace_node(CUgraph graph, CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS& parameters,
                  const Place& to) {
  // Captures are made in a stream of the partition's own, one at a time.
  static std::mutex capturing;
  const std::lock_guard lock(capturing);
  const CUstream stream = capture_stream(*to.partition);
  if (stream == nullptr || d().capture_to_graph == nullptr || d().launch_ex == nullptr ||
      d().graph_add_dependencies == nullptr) {
    return false;
  }
  Neighbours before;
  Neighbours after;
  if (!list_neighbours(d().graph_dependencies, node, before) ||
      !list_neighbours(d().graph_dependents, node, after)) {
    return false;
  }
  std::vector<CUlaunchAttribute> attributes = attributes_of(node);
  if (to.ranked) {
    std::erase_if(attributes, [](const CUlaunchAttribute& attribute) {
      return attribute.id == CU_LAUNCH_ATTRIBUTE_PRIORITY;
    });
    CUlaunchAttribute& priority = attributes.emplace_back();
    priority.id = CU_LAUNCH_ATTRIBUTE_PRIORITY;
    priority.value.priority = to.priority;
  }
  CUlaunchConfig config{};
  config.gridDimX = parameters.gridDimX;
  config.gridDimY = parameters.gridDimY;
  config.gridDimZ = parameters.gridDimZ;
  config.blockDimX = parameters.blockDimX;
  config.blockDimY = parameters.blockDimY;
  config.blockDimZ = parameters.blockDimZ;
  config.sharedMemBytes = parameters.sharedMemBytes;
  config.hStream = stream;
  config.attrs = attributes.data();
  config.numAttrs = static_cast<unsigned int>(attributes.size());
  rebuilds.begun.fetch_add(1);
  const Finally ended([] { rebuilds.ended.fetch_add(1); });
  if (d().capture_to_graph(stream, graph, before.nodes.data(), before.edges.data(),
                           before.nodes.size(), CU_STREAM_CAPTURE_MODE_RELAXED) != CUDA_SUCCESS) {
    return false;
  }
  bool good = d().launch_ex(&config, parameters.func, parameters.kernelParams, parameters.extra) ==
              CUDA_SUCCESS;
  CUstreamCaptureStatus status{};
  const CUgraphNode* last = nullptr;
  const CUgraphEdgeData* edges = nullptr;
  std::size_t count = 0;
  good =
      good &&
      d().capture_info(stream, &status, nullptr, nullptr, &last, &edges, &count) == CUDA_SUCCESS &&
      count == 1;
  const CUgraphNode made = good ? last[0] : nullptr;
  CUgraph same = nullptr;
  good = d().end_capture(stream, &same) == CUDA_SUCCESS && good;
  const std::vector<CUgraphNode> from(after.nodes.size(), made);
  good =
      good && (after.nodes.empty() ||
               d().graph_add_dependencies(graph, from.data(), after.nodes.data(),
                                          after.edges.data(), after.nodes.size()) == CUDA_SUCCESS);
  return good && d().graph_destroy_node(node) == CUDA_SUCCESS;
}

std::vector<CUgraphNode> nodes_of(CUgraph graph) {
  std::size_t count = 0;
  if (d().graph_nodes(graph, nullptr, &count) != CUDA_SUCCESS) return {};
  std::vector<CUgraphNode> nodes(count);
  if (count != 0 && d().graph_nodes(graph, nodes.data(), &count) != CUDA_SUCCESS) return {};
  return nodes;
}

CUgraphNodeType type_of(CUgraphNode node) {
  CUgraphNodeType type{};
  return d().graph_node_type(node, &type) == CUDA_SUCCESS ? type : CU_GRAPH_NODE_TYPE_EMPTY;
}

// The graph inside a child-graph node; nullptr if there is none.
CUgraph child_of(CUgraphNode node) {
  CUgraph child = nullptr;
  return d().graph_child(node, &child) == CUDA_SUCCESS ? child : nullptr;
}

}  // namespace

std::optional<std::vector<CUgraphNode>> nodes_in_order(CUgraph graph) {
  if (d().graph_dependencies == nullptr) return std::nullopt;
  const std::vector<CUgraphNode> nodes = nodes_of(graph);
  std::unordered_map<CUgraphNode, std::size_t> index;
  for (std::size_t i = 0; i < nodes.size(); ++i) index[nodes[i]] = i;
  std::vector<std::size_t> missing(nodes.size());
  std::vector<std::vector<std::size_t>> after(nodes.size());
  std::set<std::size_t> ready;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    Neighbours before;
    if (!list_neighbours(d().graph_dependencies, nodes[i], before)) return std::nullopt;
    missing[i] = before.nodes.size();
    for (CUgraphNode node : before.nodes) after[index[node]].push_back(i);
    if (missing[i] == 0) ready.insert(i);
  }
  std::vector<CUgraphNode> order;
  while (!ready.empty()) {
    const std::size_t next = *ready.begin();
    ready.erase(ready.begin());
    order.push_back(nodes[next]);
    for (const std::size_t later : after[next]) {
      if (--missing[later] == 0) ready.insert(later);
    }
  }
  if (order.size() != nodes.size()) return std::nullopt;
  return order;
}

void map_children(CUgraph graph, CUgraph clone, std::unordered_map<CUgraphNode, CUgraphNode>& map) {
  for (CUgraphNode node : nodes_of(graph)) {
    if (type_of(node) != CU_GRAPH_NODE_TYPE_GRAPH) continue;
    CUgraphNode ours = nullptr;
    if (const auto known = map.find(node); known != map.end()) {
      ours = known->second;
    } else if (d().graph_node_in_clone(&ours, node, clone) != CUDA_SUCCESS) {
      continue;
    }
    CUgraph child = child_of(node);
    CUgraph own_child = child_of(ours);
    // A copy has its nodes in the order in which the original has them.
    const std::vector<CUgraphNode> theirs = nodes_of(child);
    const std::vector<CUgraphNode> copies = nodes_of(own_child);
    if (!std::ranges::equal(theirs, copies, {}, type_of, type_of)) continue;
    for (std::size_t i = 0; i < theirs.size(); ++i) map[theirs[i]] = copies[i];
    map_children(child, own_child, map);
  }
}

CUresult replace_child(CUgraph graph, CUgraphNode& node, CUgraph child) {
  if (d().graph_add_child == nullptr || d().graph_add_dependencies == nullptr)
    return CUDA_ERROR_NOT_SUPPORTED;
  Neighbours before;
  Neighbours after;
  CUgraphNode made = nullptr;
  if (!list_neighbours(d().graph_dependencies, node, before) ||
      !list_neighbours(d().graph_dependents, node, after) ||
      d().graph_add_child(&made, graph, nullptr, 0, child) != CUDA_SUCCESS) {
    return CUDA_ERROR_UNKNOWN;
  }
  const std::vector<CUgraphNode> to(before.nodes.size(), made);
  const bool good =
      (before.nodes.empty() ||
       d().graph_add_dependencies(graph, before.nodes.data(), to.data(), before.edges.data(),
                                  before.nodes.size()) == CUDA_SUCCESS) &&
      connect(graph, made, after) && d().graph_destroy_node(node) == CUDA_SUCCESS;
  node = made;
  return good ? CUDA_SUCCESS : CUDA_ERROR_UNKNOWN;
}

// Kernel-node parameters with `kern` and `ctx` and without `func` move a node; with `func`, `ctx`
// is ignored (cuGraphKernelNodeSetParams; docs/driver-facts.md).
bool move_kernels(CUgraph graph, const Place& to) {
  return visit_nodes(graph, [&](CUgraph owner, CUgraphNode node, CUgraphNodeType type) {
    if (type != CU_GRAPH_NODE_TYPE_KERNEL) return true;
    CUDA_KERNEL_NODE_PARAMS parameters{};
    if (d().graph_kernel_get(node, &parameters) != CUDA_SUCCESS) return false;
    if (parameters.func != nullptr && kernel_of(parameters.func).needs_whole_gpu) return true;
    if (to.partition->green != nullptr) {
      if (parameters.kern == nullptr) {
        return replace_node(owner, node, parameters, to);
      }
      parameters.func = nullptr;
      parameters.ctx = to.partition->context;
      if (d().graph_kernel_set(node, &parameters) != CUDA_SUCCESS) return false;
    }
    return !to.ranked || set_priority(node, to.priority);
  });
}

}  // namespace fico::hook
