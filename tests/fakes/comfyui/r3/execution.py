"""Generation R3, 2023-05-25 to 2023-06-29: failures are returned, and nothing on the executor tells how it
went."""

import copy
import sys
import traceback

import comfy.model_management
import nodes
import recursion
import torch
from comfy_execution.results import calls_of, format_inputs, full_type_name, split_returns
from prompt_queue import PromptQueue  # noqa: F401


def get_input_data(inputs, class_def, unique_id, outputs={}, prompt={}, extra_data={}):
    return recursion.input_data(inputs, class_def, unique_id, outputs)


def map_node_over_list(obj, input_data_all, func, allow_interrupt=False):
    results = []
    for arguments in calls_of(input_data_all):
        if allow_interrupt:
            nodes.before_node_execution()
        results.append(getattr(obj, func)(**arguments))
    return results


def get_output_data(obj, input_data_all):
    return_values = map_node_over_list(obj, input_data_all, obj.FUNCTION, allow_interrupt=True)
    output, ui, _ = split_returns(return_values, obj)
    return output, ui


def recursive_execute(server, prompt, outputs, current_item, extra_data, executed, prompt_id, outputs_ui):
    unique_id = current_item
    inputs = prompt[unique_id]["inputs"]
    class_type = prompt[unique_id]["class_type"]
    class_def = nodes.NODE_CLASS_MAPPINGS[class_type]
    if unique_id in outputs:
        return (True, None, None)

    for x in inputs:
        if isinstance(inputs[x], list) and inputs[x][0] not in outputs:
            result = recursive_execute(
                server, prompt, outputs, inputs[x][0], extra_data, executed, prompt_id, outputs_ui
            )
            if result[0] is not True:
                return result

    input_data_all = None
    try:
        input_data_all = get_input_data(inputs, class_def, unique_id, outputs, prompt, extra_data)
        if server.client_id is not None:
            server.last_node_id = unique_id
            server.send_sync("executing", {"node": unique_id, "prompt_id": prompt_id}, server.client_id)
        obj = class_def()
        output_data, output_ui = get_output_data(obj, input_data_all)
        outputs[unique_id] = output_data
        if output_ui:
            outputs_ui[unique_id] = output_ui
            if server.client_id is not None:
                message = {"node": unique_id, "output": output_ui, "prompt_id": prompt_id}
                server.send_sync("executed", message, server.client_id)
    except comfy.model_management.InterruptProcessingException as iex:
        print("Processing interrupted", flush=True)
        return (False, {"node_id": unique_id}, iex)
    except Exception as ex:
        typ, _, tb = sys.exc_info()
        exception_type = full_type_name(typ)
        input_data_formatted = format_inputs(input_data_all)
        print("!!! Exception during processing !!!")
        print(traceback.format_exc(), flush=True)
        error_details = {
            "node_id": unique_id,
            "exception_message": str(ex),
            "exception_type": exception_type,
            "traceback": traceback.format_tb(tb),
            "current_inputs": input_data_formatted,
            "current_outputs": sorted(outputs),
        }
        return (False, error_details, ex)

    executed.add(unique_id)
    return (True, None, None)


def recursive_will_execute(prompt, outputs, current_item):
    return recursion.will_execute(prompt, outputs, current_item)


class PromptExecutor:
    def __init__(self, server):
        self.outputs = {}
        self.outputs_ui = {}
        self.old_prompt = {}
        self.server = server

    def _send(self, event, data):
        if self.server.client_id is not None:
            self.server.send_sync(event, data, self.server.client_id)

    def handle_execution_error(self, prompt_id, prompt, current_outputs, executed, error, ex):
        node_id = error["node_id"]
        message = {
            "prompt_id": prompt_id,
            "node_id": node_id,
            "node_type": prompt[node_id]["class_type"],
            "executed": list(executed),
        }
        if isinstance(ex, comfy.model_management.InterruptProcessingException):
            self.server.send_sync("execution_interrupted", message, self.server.client_id)
        else:
            self._send("execution_error", dict(message, **error))
        for gone in [o for o in self.outputs if o not in current_outputs and o not in executed]:
            self.old_prompt.pop(gone, None)
            del self.outputs[gone]

    def execute(self, prompt, prompt_id, extra_data={}, execute_outputs=[]):
        nodes.interrupt_processing(False)
        self.server.client_id = extra_data.get("client_id")
        self._send("execution_start", {"prompt_id": prompt_id})

        with torch.inference_mode():
            recursion.delete_stale(prompt, self.old_prompt, self.outputs)
            current_outputs = set(self.outputs)
            for gone in [o for o in self.outputs_ui if o not in current_outputs]:
                del self.outputs_ui[gone]
            self._send("execution_cached", {"nodes": list(current_outputs), "prompt_id": prompt_id})
            executed = set()
            to_execute = list(execute_outputs)
            while to_execute:
                to_execute.sort(key=lambda x: (recursive_will_execute(prompt, self.outputs, x), x))
                output_node_id = to_execute.pop(0)
                success, error, ex = recursive_execute(
                    self.server,
                    prompt,
                    self.outputs,
                    output_node_id,
                    extra_data,
                    executed,
                    prompt_id,
                    self.outputs_ui,
                )
                if success is not True:
                    self.handle_execution_error(prompt_id, prompt, current_outputs, executed, error, ex)
                    break
            for x in executed:
                self.old_prompt[x] = copy.deepcopy(prompt[x])
            self.server.last_node_id = None
