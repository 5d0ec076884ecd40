"""comfy_execution.graph before the executor became async."""

from comfy_execution.dynprompt import DynamicPrompt  # noqa: F401
from comfy_execution.graph_utils import ExecutionBlocker, is_link  # noqa: F401
from comfy_execution.scheduling import DependencyCycleError, Scheduler  # noqa: F401


class ExecutionList(Scheduler):
    def stage_node_execution(self):
        return self.pick()
