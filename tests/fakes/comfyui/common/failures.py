"""What the executors that return failures say about a node's exception."""

import logging
import traceback

import comfy.model_management
from comfy_execution.results import format_inputs, full_type_name


def details(node_id, message, typ, tb, input_data_all):
    """`input_data_all`: None when the inputs could not be had."""
    return {
        "node_id": node_id,
        "exception_message": message,
        "exception_type": full_type_name(typ),
        "traceback": traceback.format_tb(tb),
        "current_inputs": format_inputs(input_data_all),
    }


def make_room(ex):
    """When memory ran out. Whether it did."""
    ran_out = isinstance(ex, comfy.model_management.OOM_EXCEPTION)
    if ran_out:
        logging.error("Got an OOM, unloading all loaded models.")
        comfy.model_management.unload_all_models()
    return ran_out


def logged(node_id, ex, typ, tb, input_data_all):
    """The details that the inverted executors give, once they have logged the exception."""
    logging.error("!!! Exception during processing !!! %s", ex)
    logging.error(traceback.format_exc())
    tips = "This error means you ran out of memory on your GPU." if make_room(ex) else ""
    return details(node_id, "%s\n%s" % (ex, tips), typ, tb, input_data_all)
