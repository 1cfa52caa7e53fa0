"""Reads reports with Python's email package: an independent eye on src/bounce/report.ts.

Standard input: a JSON list of messages in base64. Standard output: a JSON list of what was read.
"""
import base64
import email
import email.policy
import json
import re
import sys


def text(value):
    raw = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return re.sub(r"\r?\n(?=[ \t])", "", raw)


def fields(message):
    return [[name, text(value)] for name, value in message.raw_items()]


def blocks(part):
    if part.get_content_type() == "message/delivery-status":
        return [fields(block) for block in part.get_payload()]
    # Python does not know the internationalized type.
    octets = part.as_bytes().replace(b"\r\n", b"\n").partition(b"\n\n")[2]
    return [fields(email.message_from_bytes(b)) for b in octets.split(b"\n\n") if b.strip()]


def read(octets):
    message = email.message_from_bytes(octets, policy=email.policy.compat32)
    parts = message.get_payload() if message.is_multipart() else [message]
    return {
        "type": message.get_content_type(),
        "reportType": message.get_param("report-type"),
        "fields": fields(message),
        "defects": [repr(d) for p in [message, *parts[:2]] for d in p.defects],
        "parts": [p.get_content_type() for p in parts],
        "text": parts[0].get_payload(decode=True).decode("utf-8").replace("\r\n", "\n"),
        "status": blocks(parts[1]) if len(parts) > 1 else [],
        "original": parts[2].as_bytes().partition(b"\n\n")[2].decode("latin-1")
        if len(parts) > 2
        else "",
    }


json.dump([read(base64.b64decode(m)) for m in json.load(sys.stdin)], sys.stdout)
