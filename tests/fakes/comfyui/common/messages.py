"""What executors tell their client, and remember as status_messages."""

import time

import comfy.model_management
import nodes
from comfy_execution.graph_utils import ExecutionBlocker


def executing(server, node_id, **more):
    if server.client_id is not None:
        server.last_node_id = more.get("display_node", node_id)
        server.send_sync("executing", {"node": node_id, **more}, server.client_id)


def executed(server, node_id, output, **more):
    if server.client_id is not None:
        server.send_sync("executed", {"node": node_id, "output": output, **more}, server.client_id)


def about_node(prompt_id, node_id, node_type, executed):
    """What every message about a prompt's end has."""
    return {"prompt_id": prompt_id, "node_id": node_id, "node_type": node_type, "executed": list(executed)}


def blocked(block, server, prompt_id, unique_id, class_type, executed):
    """What an execution_block_cb of the inverted executors does. Returns what takes the node's output's place."""
    if block.message is None:
        return block
    message = {
        **about_node(prompt_id, unique_id, class_type, executed),
        "exception_message": "Execution Blocked: " + block.message,
        "exception_type": "ExecutionBlocked",
        "traceback": [],
        "current_inputs": [],
        "current_outputs": [],
    }
    server.send_sync("execution_error", message, server.client_id)
    return ExecutionBlocker(None)


class StatusMessages:
    """What the PromptExecutors with status_messages share."""

    def start(self, prompt_id, extra_data):
        nodes.interrupt_processing(False)
        self.server.client_id = extra_data.get("client_id")
        self.status_messages = []
        self.add_message("execution_start", {"prompt_id": prompt_id}, broadcast=False)

    def add_message(self, event, data: dict, broadcast: bool):
        data = dict(data, timestamp=int(time.time() * 1000))
        self.status_messages.append((event, data))
        if self.server.client_id is not None or broadcast:
            self.server.send_sync(event, data, self.server.client_id)

    def add_cached(self, prompt_id, cached_nodes):
        self.add_message("execution_cached", {"nodes": cached_nodes, "prompt_id": prompt_id}, broadcast=False)

    def handle_execution_error(self, prompt_id, prompt, current_outputs, executed, error, ex):
        node_id = error["node_id"]
        message = about_node(prompt_id, node_id, prompt[node_id]["class_type"], executed)
        if isinstance(ex, comfy.model_management.InterruptProcessingException):
            self.add_message("execution_interrupted", message, broadcast=True)
        else:
            message.update({"current_outputs": list(current_outputs), **error})
            self.add_message("execution_error", message, broadcast=False)
