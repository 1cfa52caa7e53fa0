# Compares each NAME.sent in a folder with its NAME.arrived by Python's own reading of both, which
# shares no code with ours. Writes one line for each difference, then the number of messages compared.
import email
import pathlib
import re
import sys

LONGEST_LINE = 998


def normal(octets):
    """Line ends as one LF each, without NUL octets."""
    return re.sub(rb'\r*\n|\r', b'\n', octets.replace(b'\0', b''))


def complete(octets):
    """Every line of a message ends on the wire."""
    return octets if octets.endswith(b'\n') else octets + b'\n'


def squeezed(octets):
    return b''.join(octets.split())


def parts(message):
    """Type and decoded octets of each leaf, and all that stands between the parts."""
    leaves, between = [], b''
    for part in message.walk():
        if part.is_multipart():
            for text in (part.preamble, part.epilogue):
                between += squeezed((text or '').encode('latin1', 'replace'))
            continue
        octets = normal(part.get_payload(decode=True) or b'')
        leaves.append((part.get_content_type(), octets))
    return leaves, between


def fields(message):
    """What the fields of all headers say, but for those that are added, removed or changed."""
    ours = {'received', 'date', 'message-id', 'from', 'to', 'bcc', 'return-path', 'content-length',
            'mime-version', 'content-type', 'content-transfer-encoding'}
    return [(name.lower(), squeezed(str(value).encode('utf-8', 'replace')))
            for part in message.walk() for name, value in part.items() if name.lower() not in ours]


def differences(sent, arrived, folds):
    was = email.message_from_bytes(complete(normal(sent)))
    now = email.message_from_bytes(normal(arrived))
    for name in ('Date', 'From', 'Message-ID'):
        if len(now.get_all(name, [])) != 1:
            yield f'{len(now.get_all(name, []))} fields {name}'
    for name in ('MIME-Version', 'Content-Type', 'Content-Transfer-Encoding', 'To', 'Cc', 'Subject'):
        most = max(1, len(was.get_all(name, [])))
        if len(now.get_all(name, [])) > most:
            yield f'{len(now.get_all(name, []))} fields {name}'
    if len(now.get_all('Received', [])) != len(was.get_all('Received', [])) + 1:
        yield 'no Received field of our own'
    if now.get_all('To') is None and now.get_all('Cc') is None:
        yield 'neither To nor Cc'
    for name in ('Bcc', 'Return-Path', 'Content-Length'):
        if now.get_all(name) is not None:
            yield f'a {name} field'
    if max(map(len, arrived.split(b'\r\n'))) > LONGEST_LINE:
        yield 'a line that is too long'
    if fields(was) != fields(now):
        yield 'other fields'
    (leaves_before, between_before), (leaves_now, between_now) = parts(was), parts(now)
    if between_before != between_now:
        yield 'another preamble or epilogue'
    if len(leaves_before) != len(leaves_now):
        yield f'{len(leaves_now)} parts instead of {len(leaves_before)}'
    for (type_before, before), (type_now, after) in zip(leaves_before, leaves_now):
        if type_before != type_now:
            yield f'type {type_now} instead of {type_before}'
        if folds:
            before, after = squeezed(before), squeezed(after)
        if before != after:
            yield f'another text: {after[:60]!r} instead of {before[:60]!r}'


count = 0
for path in sorted(pathlib.Path(sys.argv[1]).glob('*.sent')):
    count += 1
    folds = path.with_suffix('.folds').exists()
    try:
        arrived = path.with_suffix('.arrived').read_bytes()
    except FileNotFoundError:
        print(f'{path.stem}: did not arrive')
        continue
    for difference in differences(path.read_bytes(), arrived, folds):
        print(f'{path.stem}: {difference}')
print(count)
