"""Generation R4, 2023-06-29 to 2024-08-15, in its last form: sync and recursive, failures are returned."""

import copy
import logging
import sys
import time
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
    output, ui, _ = split_returns(
        map_node_over_list(obj, input_data_all, obj.FUNCTION, allow_interrupt=True), obj
    )
    return output, ui


def recursive_execute(
    server, prompt, outputs, current_item, extra_data, executed, prompt_id, outputs_ui, object_storage
):
    unique_id = current_item
    inputs = prompt[unique_id]["inputs"]
    class_type = prompt[unique_id]["class_type"]
    class_def = nodes.NODE_CLASS_MAPPINGS[class_type]
    if unique_id in outputs:
        return (True, None, None)

    for x in inputs:
        if isinstance(inputs[x], list) and inputs[x][0] not in outputs:
            result = recursive_execute(
                server,
                prompt,
                outputs,
                inputs[x][0],
                extra_data,
                executed,
                prompt_id,
                outputs_ui,
                object_storage,
            )
            if result[0] is not True:
                return result

    input_data_all = None
    try:
        input_data_all = get_input_data(inputs, class_def, unique_id, outputs, prompt, extra_data)
        if server.client_id is not None:
            server.last_node_id = unique_id
            server.send_sync("executing", {"node": unique_id, "prompt_id": prompt_id}, server.client_id)
        obj = object_storage.get((unique_id, class_type))
        if obj is None:
            obj = object_storage[(unique_id, class_type)] = class_def()
        output_data, output_ui = get_output_data(obj, input_data_all)
        outputs[unique_id] = output_data
        if output_ui:
            outputs_ui[unique_id] = output_ui
            if server.client_id is not None:
                message = {"node": unique_id, "output": output_ui, "prompt_id": prompt_id}
                server.send_sync("executed", message, server.client_id)
    except comfy.model_management.InterruptProcessingException as iex:
        logging.info("Processing interrupted")
        return (False, {"node_id": unique_id}, iex)
    except Exception as ex:
        typ, _, tb = sys.exc_info()
        exception_type = full_type_name(typ)
        input_data_formatted = format_inputs(input_data_all)
        logging.error("!!! Exception during processing!!! %s", ex)
        logging.error(traceback.format_exc())
        error_details = {
            "node_id": unique_id,
            "exception_message": str(ex),
            "exception_type": exception_type,
            "traceback": traceback.format_tb(tb),
            "current_inputs": input_data_formatted,
            "current_outputs": sorted(outputs),
        }
        if isinstance(ex, comfy.model_management.OOM_EXCEPTION):
            logging.error("Got an OOM, unloading all loaded models.")
            comfy.model_management.unload_all_models()
        return (False, error_details, ex)

    executed.add(unique_id)
    return (True, None, None)


def recursive_will_execute(prompt, outputs, current_item, memo={}):
    if current_item not in memo:
        memo[current_item] = recursion.will_execute(prompt, outputs, current_item)
    return memo[current_item]


class PromptExecutor:
    def __init__(self, server):
        self.server = server
        self.reset()

    def reset(self):
        self.outputs = {}
        self.object_storage = {}
        self.outputs_ui = {}
        self.status_messages = []
        self.success = True
        self.old_prompt = {}

    def add_message(self, event, data, broadcast):
        data = dict(data, timestamp=int(time.time() * 1000))
        self.status_messages.append((event, data))
        if self.server.client_id is not None or broadcast:
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
            self.add_message("execution_interrupted", message, broadcast=True)
        else:
            message.update(error)
            self.add_message("execution_error", message, broadcast=False)
        for gone in [o for o in self.outputs if o not in current_outputs and o not in executed]:
            self.old_prompt.pop(gone, None)
            del self.outputs[gone]

    def execute(self, prompt, prompt_id, extra_data={}, execute_outputs=[]):
        nodes.interrupt_processing(False)
        self.server.client_id = extra_data.get("client_id")
        self.status_messages = []
        self.add_message("execution_start", {"prompt_id": prompt_id}, broadcast=False)

        with torch.inference_mode():
            recursion.delete_stale(prompt, self.old_prompt, self.outputs)
            for gone in [o for o in self.object_storage if o[0] not in prompt]:
                del self.object_storage[gone]
            current_outputs = set(self.outputs)
            for gone in [o for o in self.outputs_ui if o not in current_outputs]:
                del self.outputs_ui[gone]
            self.add_message(
                "execution_cached", {"nodes": list(current_outputs), "prompt_id": prompt_id}, broadcast=False
            )
            executed = set()
            to_execute = list(execute_outputs)
            while to_execute:
                memo = {}
                to_execute.sort(key=lambda o: (recursive_will_execute(prompt, self.outputs, o, memo), o))
                output_node_id = to_execute.pop(0)
                self.success, error, ex = recursive_execute(
                    self.server,
                    prompt,
                    self.outputs,
                    output_node_id,
                    extra_data,
                    executed,
                    prompt_id,
                    self.outputs_ui,
                    self.object_storage,
                )
                if self.success is not True:
                    self.handle_execution_error(prompt_id, prompt, current_outputs, executed, error, ex)
                    break
            else:
                self.add_message("execution_success", {"prompt_id": prompt_id}, broadcast=False)
            for x in executed:
                self.old_prompt[x] = copy.deepcopy(prompt[x])
            self.server.last_node_id = None
