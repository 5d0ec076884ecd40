"""Which node runs next: the order of ComfyUI's ExecutionList, without its ways of waiting."""

import inspect

import nodes

from comfy_execution.graph_utils import is_link


class DependencyCycleError(Exception):
    __module__ = "comfy_execution.graph"


class Scheduler:
    def __init__(self, dynprompt, output_cache):
        self.dynprompt = dynprompt
        self.output_cache = output_cache
        self.staged_node_id = None
        self._waits_for = {}  # node id -> ids of unfinished inputs, in the order in which nodes were added
        self._awaited_by = {}
        self._ready = set()
        self._order = {}
        self._external = {}  # node id -> blocks from outside (async nodes)

    # ---- building the graph

    def cached(self, node_id):
        """The cache's entry for the node, or None."""
        return self.output_cache.get(node_id)

    def is_cached(self, node_id):
        return self.cached(node_id) is not None

    def linked(self, from_node_id, to_node_id):
        """One node is going to read the other's output."""

    def _class_def(self, node_id):
        return nodes.NODE_CLASS_MAPPINGS[self.dynprompt.get_node(node_id)["class_type"]]

    def _is_lazy(self, node_id, name):
        for group in self._class_def(node_id).INPUT_TYPES().values():
            if name in group:
                options = group[name][1:]
                return bool(options and options[0].get("lazy"))
        return False

    def add_node(self, node_id):
        links = []
        stack = [node_id]
        while stack:
            current = stack.pop()
            if current in self._waits_for:
                continue
            self._waits_for[current] = set()
            self._order[current] = len(self._order)
            self._ready.add(current)
            for name, value in self.dynprompt.get_node(current)["inputs"].items():
                if not is_link(value) or self._is_lazy(current, name):
                    continue
                self.linked(value[0], current)
                if not self.is_cached(value[0]):
                    stack.append(value[0])
                    links.append((value[0], current))
        for source, target in links:
            self._link(source, target)

    def add_strong_link(self, from_node_id, from_socket, to_node_id):
        self.linked(from_node_id, to_node_id)
        if not self.is_cached(from_node_id):
            self.add_node(from_node_id)
            self._link(from_node_id, to_node_id)

    def make_input_strong_link(self, to_node_id, to_input):
        from_node_id, from_socket = self.dynprompt.get_node(to_node_id)["inputs"][to_input]
        self.add_strong_link(from_node_id, from_socket, to_node_id)

    def _link(self, source, target):
        self._waits_for[target].add(source)
        self._awaited_by.setdefault(source, {})[target] = True
        self._ready.discard(target)

    # ---- running it

    def is_empty(self):
        return not self._waits_for

    def block_from_outside(self, node_id):
        self._external[node_id] = self._external.get(node_id, 0) + 1
        self._ready.discard(node_id)

    def release_from_outside(self, node_id):
        self._external[node_id] -= 1
        if not self._external[node_id]:
            del self._external[node_id]
            if node_id in self._waits_for and not self._waits_for[node_id]:
                self._ready.add(node_id)

    def blocked_only_from_outside(self):
        return not self._ready and bool(self._external)

    def pick(self):
        """(node id, None, None) of the next node, or (None, details, exception) when the rest is a cycle."""
        if not self._ready:
            return (None,) + self._cycle()
        ready = sorted(self._ready, key=self._order.__getitem__)
        self.staged_node_id = self._friendliest(ready)
        return self.staged_node_id, None, None

    def unstage_node_execution(self):
        self.staged_node_id = None

    def complete_node_execution(self):
        done, self.staged_node_id = self.staged_node_id, None
        del self._waits_for[done]
        self._ready.discard(done)
        for target in self._awaited_by.pop(done, ()):
            self._waits_for[target].discard(done)
            if not self._waits_for[target] and target not in self._external:
                self._ready.add(target)

    def _friendliest(self, ready):
        """Output and async nodes first, then what is one or two steps from an output, then the oldest."""
        for node_id in ready:
            class_def = self._class_def(node_id)
            if self._is_output(node_id) or inspect.iscoroutinefunction(
                getattr(class_def, class_def.FUNCTION)
            ):
                return node_id
        for distance in (1, 2):
            for node_id in ready:
                if self._leads_to_output(node_id, distance):
                    return node_id
        return ready[0]

    def _is_output(self, node_id):
        return getattr(self._class_def(node_id), "OUTPUT_NODE", False)

    def _leads_to_output(self, node_id, distance):
        targets = self._awaited_by.get(node_id, ())
        if distance == 1:
            return any(self._is_output(target) for target in targets)
        return any(self._leads_to_output(target, distance - 1) for target in targets)

    def _cycle(self):
        ex = DependencyCycleError("Dependency cycle detected")
        in_cycle = self._nodes_in_cycle()
        dynamic = [n for n in in_cycle if self.dynprompt.get_display_node_id(n) != n]
        blamed = self.dynprompt.get_display_node_id(dynamic[0]) if dynamic else in_cycle[0]
        return {
            "node_id": blamed,
            "exception_message": str(ex),
            "exception_type": "graph.DependencyCycleError",
            "traceback": [],
            "current_inputs": [],
        }, ex

    def _nodes_in_cycle(self):
        left = {node_id: set(waits) for node_id, waits in self._waits_for.items()}
        while True:
            free = [node_id for node_id, waits in left.items() if not waits & left.keys()]
            if not free:
                return list(left)
            for node_id in free:
                del left[node_id]
