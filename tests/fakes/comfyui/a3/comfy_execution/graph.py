"""comfy_execution.graph of 2026: nodes can be overridden, the output cache has a local side for sync
callers."""

from comfy_execution import dynprompt, execution_list
from comfy_execution.graph_utils import ExecutionBlocker, is_link  # noqa: F401
from comfy_execution.scheduling import DependencyCycleError  # noqa: F401


class DynamicPrompt(dynprompt.DynamicPrompt):
    def __init__(self, original_prompt):
        super().__init__(original_prompt)
        self.node_overrides = {}

    def get_node(self, node_id):
        if node_id in self.node_overrides:
            return self.node_overrides[node_id]
        return super().get_node(node_id)


class ExecutionList(execution_list.ExecutionList):
    def cached(self, node_id):
        return self.output_cache.get_local(node_id)
