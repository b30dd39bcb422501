"""A proxy before an IMAP server, over TLS on both sides, that changes what the server says of a mail's content."""

import contextlib
import re
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator

from imap_server import ImapServer, trusting

# Called with a mail's content; returns what stands in the answer in its place, None to let it pass.
Lie = Callable[[bytes], bytes | None]

_CONTENT = re.compile(rb"BODY\[\] \{(\d+)\}\r\n")


def literal(content: bytes) -> bytes:
    return b"BODY[] {%d}\r\n" % len(content) + content


@contextlib.contextmanager
def lying(server: ImapServer, lie: Lie) -> Iterator[str]:
    """Yield the name of the proxy, as imap_server has it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(server.folder / "server.pem")

    class Dialogue(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
                client = stack.enter_context(context.wrap_socket(self.request, server_side=True))
                line = socket.create_connection(("localhost", server.port))
                real = stack.enter_context(trusting(server.folder).wrap_socket(line, server_hostname="localhost"))
                threading.Thread(target=self.pass_on, args=(client, real), daemon=True).start()
                self.change(real, client)

        @staticmethod
        def pass_on(client: ssl.SSLSocket, real: ssl.SSLSocket) -> None:
            with contextlib.suppress(OSError, ValueError):
                while data := client.recv(1 << 16):
                    real.sendall(data)

        @staticmethod
        def change(real: ssl.SSLSocket, client: ssl.SSLSocket) -> None:
            held = b""
            while data := real.recv(1 << 16):
                held += data
                while found := _CONTENT.search(held):
                    end = found.end() + int(found[1])
                    while len(held) < end:
                        held += real.recv(1 << 16)
                    content = held[found.end() : end]
                    told = lie(content)
                    client.sendall(held[: found.start()] + (literal(content) if told is None else told))
                    held = held[end:]
                client.sendall(held)
                held = b""

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Dialogue) as listening:
        listening.daemon_threads = True
        threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"localhost:{listening.server_address[1]}"
        listening.shutdown()


@contextlib.contextmanager
def dying(server: ImapServer, at_death: Callable[[], object], every: int) -> Iterator[tuple[str, Callable[[], int]]]:
    """Yield the name of a proxy that ends a login after `every` commands, as Exchange does when its token ends.

    The command goes to the server in every second of these cases; its answer never comes back. Yields also how often that was.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(server.folder / "server.pem")
    deaths: list[int] = []
    dropped = threading.Semaphore(0)

    class Dialogue(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError, ValueError), contextlib.ExitStack() as stack:
                client = stack.enter_context(context.wrap_socket(self.request, server_side=True))
                line = socket.create_connection(("localhost", server.port))
                real = stack.enter_context(trusting(server.folder).wrap_socket(line, server_hostname="localhost"))
                stack.callback(real.shutdown, socket.SHUT_RDWR)
                is_dead = threading.Event()
                threading.Thread(target=self.pass_on, args=(real, client, is_dead), daemon=True).start()
                for asked, command in enumerate(client.makefile("rb"), start=1):
                    if asked > every:
                        deaths.append(asked)
                        at_death()
                        is_dead.set()
                        if len(deaths) % 2:
                            real.sendall(command)
                            dropped.acquire(timeout=5)
                        client.sendall(b"* BYE Session invalidated - AccessTokenExpired\r\n")
                        return
                    real.sendall(command)

        @staticmethod
        def pass_on(real: ssl.SSLSocket, client: ssl.SSLSocket, is_dead: threading.Event) -> None:
            with contextlib.suppress(OSError, ValueError):
                while data := real.recv(1 << 16):
                    if is_dead.is_set():
                        dropped.release()
                    else:
                        client.sendall(data)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Dialogue) as listening:
        listening.daemon_threads = True
        threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"localhost:{listening.server_address[1]}", lambda: len(deaths)
        listening.shutdown()
