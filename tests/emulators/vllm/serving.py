"""The HTTP server. Keys are asked for below /v1 alone, as vLLM does."""

import base64
import json
import os
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.emulators.vllm import shapes
from tests.emulators.vllm.engine import CoreDied, Engine
from tests.emulators.vllm.shapes import Chat, Json

GUARDED = ("/v1", "/v2")
DIMENSIONS = 8


class Refused(Exception):
    def __init__(self, status: int, body: Json) -> None:
        super().__init__(status, body)
        self.status, self.body = status, body


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str, port: int, engine: Engine) -> None:
        self.engine = engine
        self.key = os.environ.get("VLLM_API_KEY")
        self.dev_mode = os.environ.get("VLLM_SERVER_DEV_MODE") == "1"
        super().__init__((host, port), Handler)

    def end(self) -> None:
        threading.Thread(target=self.shutdown).start()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, route: Any) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            if url.path.startswith(GUARDED) and self.headers.get("Authorization") != f"Bearer {self.server.key}":
                raise Refused(401, {"error": "Unauthorized"})
            answer = route(url.path, {name: values[-1] for name, values in parse_qs(url.query).items()}, body)
            if answer is not None:
                self._send(200, answer)
        except Refused as refusal:
            self._send(refusal.status, refusal.body)
        except CoreDied:
            self._send(500, shapes.error(shapes.DEAD, "InternalServerError", 500))
            self.server.end()
        except OSError:
            self.close_connection = True

    def _get(self, path: str, query: dict[str, str], _: bytes) -> Any:
        engine = self.server.engine
        match path:
            case "/health":
                return ""
            case "/v1/models":
                asked = engine.arguments
                return shapes.models(engine.names, engine.adapters, asked.model_tag, asked.max_model_len)
            case "/is_sleeping" if self.server.dev_mode:
                return {"is_sleeping": engine.is_sleeping}
        raise Refused(404, {"detail": "Not Found"})

    def _post(self, path: str, query: dict[str, str], body: bytes) -> Any:
        engine, dev = self.server.engine, self.server.dev_mode
        pools = engine.arguments.runner == "pooling"
        match path:
            case "/sleep" if dev:
                engine.sleep(int(query.get("level", "1")))
                return {"status": "sleeping", "level": engine.sleep_level}
            case "/wake_up" if dev:
                tags = [query["tags"]] if "tags" in query else []
                return {"status": "awake" if engine.wake(tags) else "sleeping", "tags": tags or None}
            case "/collective_rpc" if dev:
                if self._parsed(body).get("method") == "reload_weights":
                    engine.reload_weights()
                return {"results": [None]}
            case "/v1/chat/completions" if not pools:
                return self._chat(self._parsed(body))
            case "/v1/embeddings" if pools:
                return self._embed(self._parsed(body))
            case "/v1/rerank" if pools:
                return self._rerank(self._parsed(body))
            case "/tokenize":
                tokens = list(str(self._parsed(body)["prompt"]).encode())
                length = engine.arguments.max_model_len
                return {"count": len(tokens), "max_model_len": length, "tokens": tokens, "token_strs": None}
            case "/detokenize":
                return {"prompt": bytes(self._parsed(body)["tokens"]).decode(errors="replace")}
        raise Refused(404, {"detail": "Not Found"})

    def _parsed(self, body: bytes) -> Json:
        try:
            parsed = json.loads(body)
        except ValueError:
            entry = {"type": "json_invalid", "loc": "body.0", "msg": "JSON decode error"}
            raise Refused(400, shapes.error(f"1 validation error:\n  {entry}", "Bad Request", 400, "body.0")) from None
        model = parsed.get("model")
        engine = self.server.engine
        if model is not None and model not in (*engine.names, *engine.adapters):
            known = ", ".join(engine.names)
            message = f"The model `{model}` does not exist. Valid aliases: {known}."
            raise Refused(404, shapes.error(message, "NotFoundError", 404, "model"))
        return dict(parsed)

    def _chat(self, asked: Json) -> Any:
        engine, model = self.server.engine, asked.get("model") or self.server.engine.names[0]
        if not isinstance(asked.get("messages"), list):
            entry = {"type": "list_type", "loc": "body.messages", "msg": "Input should be a valid list", "input": "x"}
            message = f"1 validation error:\n  {entry}"
            raise Refused(400, shapes.error(message, "Bad Request", 400, "body.messages"))
        prompt = "\n".join(str(message.get("content")) for message in asked["messages"])
        limit = engine.arguments.max_model_len
        if len(prompt) > limit:
            raise Refused(
                400,
                shapes.bad_request(
                    f"This model's maximum context length is {limit} tokens. However, your prompt contains at least "
                    f"{limit + 1} input tokens, which exceeds this limit even without any output tokens. Please reduce "
                    f"the length of the input prompt. (parameter=input_tokens, value={limit + 1})",
                    "input_tokens",
                ),
            )
        tokens = iter(engine.recite(prompt, model))
        shown = model if model in engine.adapters else engine.names[0]
        if asked.get("tools"):
            return self._called(Chat(shown), asked)
        if asked.get("stream"):
            return self._streamed(Chat(shown), asked, prompt, tokens)
        said = list(tokens)[: asked.get("max_tokens") or None]
        used = shapes.usage(len(prompt), len(said))
        return Chat(shown).whole("".join(said), [], "length" if asked.get("max_tokens") == len(said) else "stop", used)

    def _called(self, chat: Chat, asked: Json) -> Json:
        choice = asked.get("tool_choice", "auto")
        if choice == "auto" and not self.server.engine.arguments.enable_auto_tool_choice:
            message = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
            raise Refused(400, shapes.bad_request(message))
        function = asked["tools"][0]["function"]["name"]
        return chat.whole(None, [shapes.call(function, '{"city": "Paris"}')], "tool_calls", shapes.usage(9, 9))

    def _streamed(self, chat: Chat, asked: Json, prompt: str, tokens: Iterator[str]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        count = 0
        try:
            self._event(chat.chunk({"role": "assistant", "content": ""}))
            for token in tokens:
                count += 1
                self._event(chat.chunk({"content": token}))
            self._event(chat.chunk({}, "stop"))
            if (asked.get("stream_options") or {}).get("include_usage"):
                self._event(chat.counted(shapes.usage(len(prompt), count)))
        except CoreDied:
            self._event(shapes.error(shapes.DEAD, "InternalServerError", 500))
            self.server.end()
        self._event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, event: Json | str) -> None:
        data = f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode()
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _embed(self, asked: Json) -> Json:
        if asked.get("dimensions"):
            raise Refused(400, shapes.bad_request("Model does not support matryoshka representation", "dimensions"))
        texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
        vectors = [[float((len(text) + place) % 5 + 1) for place in range(DIMENSIONS)] for text in texts]
        packed = asked.get("encoding_format") == "base64"
        shown = [base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *one)).decode() if packed else one for one in vectors]
        data = [{"index": index, "object": "embedding", "embedding": one} for index, one in enumerate(shown)]
        return {
            "id": "embd-0",
            "object": "list",
            "model": asked.get("model"),
            "data": data,
            "usage": shapes.usage(1, 0),
        }

    def _rerank(self, asked: Json) -> Json:
        scores = [float(len(set(asked["query"]) & set(document))) for document in asked["documents"]]
        if asked.get("use_activation", True):
            scores = [score / (1 + score) for score in scores]
        order = sorted(range(len(scores)), key=lambda index: -scores[index])[: asked.get("top_n") or None]
        results = [
            {"index": index, "document": {"text": asked["documents"][index]}, "relevance_score": scores[index]}
            for index in order
        ]
        used = {"prompt_tokens": 5, "total_tokens": 5}
        return {"id": "rerank-0", "model": asked.get("model"), "usage": used, "results": results}

    def _send(self, status: int, body: Any) -> None:
        data = b"" if body == "" else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
