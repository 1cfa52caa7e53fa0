"""aiosmtpd as a relay with STARTTLS and TLS from the first byte, AUTH PLAIN and LOGIN, and one mailbox folder
for each known recipient. Run in its root: aiosmtpd.py FOLDER PORT SMTPS-PORT USER PASSWORD KNOWN..."""
import os
import signal
import ssl
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult

folder, port, smtps_port, user, password, *known = sys.argv[1:]


class Handler:
    count = 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address not in known:
            return "550 5.1.1 No such user"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server, session, envelope):
        text = envelope.content.replace(b"\r\n", b"\n")
        for to in envelope.rcpt_tos:
            new = os.path.join(folder, "mail", to, "new")
            os.makedirs(new, exist_ok=True)
            Handler.count += 1
            draft = os.path.join(folder, "draft")
            with open(draft, "wb") as file:
                file.write(text)
            os.rename(draft, os.path.join(new, str(Handler.count)))
        return "250 2.0.0 OK"


def authenticate(server, session, envelope, mechanism, data):
    good = (data.login, data.password) == (user.encode(), password.encode())
    print(f"AUTH {mechanism} {good}", flush=True)
    return AuthResult(success=good, handled=False)


context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
common = dict(hostname="relay.test", authenticator=authenticate, auth_required=True)


class Plain(Controller):
    def factory(self):
        return SMTP(self.handler, tls_context=context, require_starttls=True, **common)


class Secured(Controller):
    def factory(self):
        return SMTP(self.handler, auth_require_tls=False, **common)


Plain(Handler(), hostname="127.0.0.1", port=int(port)).start()
Secured(Handler(), hostname="127.0.0.1", port=int(smtps_port), ssl_context=context).start()
print("ready", flush=True)
signal.pause()
