# Verifies DKIM signatures by dkimpy, which shares no code with ours. Standard input: a JSON object with
# `records`, DNS names to TXT texts, and `messages`, each in base64. One line for each message: the verdict
# on each of its signatures, from the top one down.
import base64
import json
import sys

import dkim

given = json.load(sys.stdin)
records = {name.encode() + b'.': text.encode() for name, text in given['records'].items()}


def verdict(signature, index):
    try:
        return 'good' if signature.verify(index, dnsfunc=lambda name, timeout=5: records.get(name)) else 'bad'
    except dkim.DKIMException as error:
        return f'{type(error).__name__}: {error}'


for text in given['messages']:
    signature = dkim.DKIM(base64.b64decode(text), minkey=1024)
    count = sum(1 for name, _ in signature.headers if name.lower() == b'dkim-signature')
    print('; '.join(verdict(signature, index) for index in range(count)) or 'unsigned')
