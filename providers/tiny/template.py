"""The tiny chat model's Jinja template: ChatML with tools, in the form from which llama.cpp learns to parse calls."""

START_OF_TURN = "<|im_start|>"
END_OF_TURN = "<|im_end|>"
TOOL_CUE = "<|script_tool|>"
"""Ends a prompt that brings tools and whose last message is the user's: the model then calls one."""

TEMPLATE = """\
{%- if tools -%}
<|im_start|>system
# Tools
<tools>
{%- for tool in tools %}
{{ tool | tojson }}
{%- endfor %}
</tools>
For each function call return a json object inside <tool_call></tool_call> tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call><|im_end|>
{% endif -%}
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.role == 'tool' -%}
<tool_response>
{{ message.content }}
</tool_response>
{%- elif message.content is string -%}
{{ message.content }}
{%- elif message.content -%}
{%- for part in message.content if part.type == 'text' -%}
{{ part.text }}
{%- endfor -%}
{%- endif -%}
{%- for call in message.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>
{%- endfor -%}
<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% if tools and messages[-1].role == 'user' -%}
<|script_tool|>
{%- endif -%}
{%- endif -%}
"""
