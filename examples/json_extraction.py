"""Fields out of free text, as JSON that always fits its schema.

    python examples/json_extraction.py --model tiny < mail.txt

The schema is enforced while the model writes: whatever it says can be read, and has every field.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import openai

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "city": {"type": "string", "maxLength": 40},
        "guests": {"type": "integer", "minimum": 0, "maximum": 99},
        "urgent": {"type": "boolean"},
    },
    "required": ["name", "city", "guests", "urgent"],
    "additionalProperties": False,
}


def extract(client: openai.OpenAI, model: str, text: str) -> dict[str, Any]:
    """The fields that ``SCHEMA`` asks for."""
    fields = ", ".join(SCHEMA["properties"])
    reply = client.chat.completions.create(
        model=model,
        temperature=0,
        reasoning_effort="none",  # what stands in a text need not be thought about
        messages=[{"role": "user", "content": f"Give {fields} as JSON:\n\n{text}"}],
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "fields", "schema": SCHEMA, "strict": True},
        },
    )
    found: dict[str, Any] = json.loads(reply.choices[0].message.content or "")
    return found


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:11434")
    parser.add_argument("--model", default="tiny")
    asked = parser.parse_args()
    with openai.OpenAI(api_key="any", base_url=f"{asked.url}/v1") as client:
        json.dump(extract(client, asked.model, sys.stdin.read()), sys.stdout, indent=2)
        print()


if __name__ == "__main__":
    main()
