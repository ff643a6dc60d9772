"""Answers and errors as vLLM 0.32 writes them."""

import time
from typing import Any
from uuid import uuid4

Json = dict[str, Any]
FINGERPRINT = "vllm-0.32.0-emulated"
DEAD = "EngineCore encountered an issue. See stack trace (above) for the root cause."


def error(message: str, kind: str, code: int, param: str | None = None) -> Json:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def bad_request(message: str, param: str | None = None) -> Json:
    return error(message, "BadRequestError", 400, param)


def usage(prompt: int, completion: int) -> Json:
    return {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}


class Chat:
    """One answer, whole or in chunks."""

    def __init__(self, model: str) -> None:
        self.head = {"id": f"chatcmpl-{uuid4().hex[:16]}", "created": int(time.time()), "model": model}

    def whole(self, text: str | None, calls: list[Json], reason: str, used: Json) -> Json:
        message: Json = {"role": "assistant", "content": text, "refusal": None, "annotations": None, "audio": None}
        message |= {"function_call": None, "reasoning": None} | ({"tool_calls": calls} if calls else {})
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason, "stop_reason": None}
        extra = {"service_tier": None, "system_fingerprint": FINGERPRINT, "prompt_logprobs": None}
        return {**self.head, "object": "chat.completion", "choices": [choice], "usage": used, **extra}

    def chunk(self, delta: Json, reason: str | None = None) -> Json:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason, "token_ids": None}
        return {**self.head, "object": "chat.completion.chunk", "choices": [choice]}

    def counted(self, used: Json) -> Json:
        return {**self.head, "object": "chat.completion.chunk", "choices": [], "usage": used}


def call(name: str, arguments: str) -> Json:
    function = {"name": name, "arguments": arguments}
    return {"id": f"chatcmpl-tool-{uuid4().hex[:16]}", "type": "function", "function": function}


def models(names: list[str], adapters: dict[str, str], root: str, length: int) -> Json:
    def card(name: str, root: str, parent: str | None) -> Json:
        fixed = {"object": "model", "created": int(time.time()), "owned_by": "vllm"}
        return {"id": name, **fixed, "root": root, "parent": parent, "max_model_len": length, "permission": []}

    own = [card(name, root, None) for name in names]
    return {"object": "list", "data": own + [card(name, path, names[0]) for name, path in adapters.items()]}
