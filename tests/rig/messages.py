"""What a ComfyUI tells its users, recorded, with the parts that differ from run to run made the same."""

import hashlib
import json
import re
import threading

import websocket


class Recorder:
    """Everything that a ComfyUI sends on the websocket of one client."""

    def __init__(self, url, client_id):
        self.received = []
        self.socket = websocket.create_connection(
            f"ws{url[len('http'):]}/ws?clientId={client_id}", timeout=30
        )
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        try:
            while True:
                opcode, data = self.socket.recv_data()
                if opcode == websocket.ABNF.OPCODE_TEXT:
                    self.received.append(json.loads(data))
                elif opcode == websocket.ABNF.OPCODE_BINARY:
                    self.received.append({"type": "binary", "data": hashlib.sha256(data).hexdigest()})
                else:
                    return
        except (websocket.WebSocketException, OSError):
            return

    def stop(self):
        """What has come, once the application has ended or the connection has been closed."""
        self.socket.close()
        self.thread.join(10)
        return self.received


class Normaliser:
    """Replaces what two runs of the same thing cannot have in common: ids of prompts, times, folders,
    addresses, and the random part of names of temporary files."""

    PATTERNS = (
        (re.compile(r"\x1b\[[0-9;]*m"), ""),
        (re.compile(r"ComfyUI_temp_[a-z]{5}_"), "ComfyUI_temp_"),
        (re.compile(r"\b0x[0-9a-f]{6,}"), "ADDRESS"),
        (re.compile(r"127\.0\.0\.1:\d+"), "HOST"),
        (re.compile(r"\d+\.\d+( seconds|s\b)"), "N seconds"),
        (re.compile(r"Traceback .*\n( .*\n)+KeyboardInterrupt\n"), "STOPPED SOMEWHERE\n"),
    )
    TIMES = ("timestamp", "create_time", "execution_start_time", "execution_end_time")

    def __init__(self, prompt_ids, folder):
        self.names = {prompt_id: f"prompt {n}" for n, prompt_id in enumerate(prompt_ids, 1)}
        self.names[str(folder)] = "FOLDER"

    def text(self, text):
        for name, replacement in self.names.items():
            text = text.replace(name, replacement)
        for pattern, replacement in self.PATTERNS:
            text = pattern.sub(replacement, text)
        return text

    def value(self, value):
        if isinstance(value, dict):
            return {self.text(k): self.value(v) for k, v in value.items() if k not in self.TIMES}
        if isinstance(value, list):
            return [self.value(v) for v in value]
        return self.text(value) if isinstance(value, str) else value

    def messages(self, received):
        """In order, without the length of the queue (it comes from another thread) and how far a node is."""
        kept = [self.value(m) for m in received if m["type"] not in ("status", "progress", "progress_state")]
        return [m for m in kept if m["type"] != "feature_flags"]

    def log(self, text):
        """The lines of a log but the library's own. Custom nodes are listed by how long they took to load, in a
        column (newer versions put the log's level before it): sorted, and without its spaces."""
        lines = [line for line in self.text(text).splitlines() if not line.startswith("comfydd:")]
        custom_nodes = [line for line in lines if re.match(r"(\[\w+\])?\s*N seconds", line)]
        others = [line for line in lines if line not in custom_nodes]
        return others + sorted(" ".join(line.split()) for line in custom_nodes)
